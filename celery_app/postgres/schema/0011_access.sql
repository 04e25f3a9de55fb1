-- Who may come in, and who was turned away.

-- The secret of a token is never stored: only its sha256, which is enough for 32 random bytes.
CREATE TABLE token (
    id         text PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    digest     text NOT NULL,
    scopes     text[] NOT NULL DEFAULT '{}',             -- patterns of actions; none: no limit of its own
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz
);

-- Rows are added and never changed.
CREATE TABLE access_log (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    xact     xid8 NOT NULL DEFAULT pg_current_xact_id(),
    subject  text NOT NULL,
    action   text NOT NULL,
    resource text NOT NULL,
    rule     text,                                       -- where it is written; NULL: no rule fits
    why      text NOT NULL
);

-- Of what somebody handed in, or a trigger started: who did. What it is planned into counts as theirs.
ALTER TABLE task ADD COLUMN requested_by text;

-- How closely a task is kept. What is below it is never kept closer, so a run is as secret as what is
-- outermost in it.
ALTER TABLE task ADD COLUMN level text NOT NULL DEFAULT 'internal';
