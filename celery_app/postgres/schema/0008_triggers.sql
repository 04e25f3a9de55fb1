-- What starts workflows: which of them are registered, what they wait for, and what was started.
--
-- Invariants
--   * An occurrence is one row with a key that follows from it: the moment, the event, the run before. Whoever
--     inserts it starts the run in the same transaction, so nobody else starts it again.
--   * A trigger's id follows from what it says: a changed one is another one, which counts from now.

CREATE TABLE workflow (
    name          text PRIMARY KEY,
    digest        text NOT NULL,
    inside        jsonb NOT NULL DEFAULT '{}',         -- the workflows inside it: name to digest
    from_file     boolean NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE trigger (
    workflow text NOT NULL REFERENCES workflow (name) ON DELETE CASCADE,
    id       text NOT NULL,
    kind     text NOT NULL,
    waits    text,                                     -- the event, webhook or workflow that it waits for
    body     bytea NOT NULL,
    by_hand  boolean NOT NULL DEFAULT false,           -- added by a person: no file takes it away
    paused   boolean NOT NULL DEFAULT false,
    since    timestamptz NOT NULL,                     -- what was due until then is settled
    error    text,                                     -- why it could not start a run the last time
    PRIMARY KEY (workflow, id)
);

CREATE INDEX trigger_waits ON trigger (kind, waits);

CREATE TABLE occurrence (
    workflow   text NOT NULL,
    trigger_id text NOT NULL,
    key        text NOT NULL,
    run_id     text NOT NULL,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (workflow, trigger_id, key)
);
