-- Logs, and the alerts that are made of them.
--
-- Invariants
--   * Whoever adds rows of log holds an advisory lock until the commit: the order of ids is the order of
--     commits, so whoever has read up to an id has missed nothing.
--   * Within one source, number counts what was said; a batch that is sent again adds nothing.
--   * At most one alert of a rule is open for each group; what is told about it (notification) is written
--     in the transaction in which it opens, closes, or a run ends.
--   * The columns body and error hold payloads.

CREATE TABLE log (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL,                      -- when it was said
    level    smallint NOT NULL,                         -- as Python counts: 20 is INFO
    logger   text NOT NULL,
    source   text NOT NULL,                             -- the process that said it
    number   bigint NOT NULL,                           -- the how manyth of that process
    task_id  text,
    trace_id text,                                      -- the root task of its run
    agent_id text,
    body     bytea NOT NULL,                            -- message, exception, details
    UNIQUE (source, number)
);

CREATE INDEX log_task ON log (task_id, id) WHERE task_id IS NOT NULL;
CREATE INDEX log_trace ON log (trace_id, id) WHERE trace_id IS NOT NULL;
CREATE INDEX log_at ON log (at);
CREATE INDEX log_bad ON log (level, id) WHERE level >= 30;

-- Asked for before the row is written: its payload is sealed for it.
CREATE SEQUENCE alert_id;
CREATE SEQUENCE notification_id;

CREATE TABLE alert (
    id          bigint PRIMARY KEY,
    rule        text NOT NULL,
    about       text NOT NULL,                          -- the group within the rule; '' is the rule itself
    severity    text NOT NULL,
    root_id     text,                                   -- the run that it began with, if it did with one
    task_id     text,
    fired_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    resolved_at timestamptz,
    resolved_by text,                                   -- NULL: by itself
    hits        bigint NOT NULL DEFAULT 1,
    silenced    boolean NOT NULL DEFAULT false,         -- nobody was told
    body        bytea NOT NULL
);

CREATE UNIQUE INDEX alert_open ON alert (rule, about) WHERE resolved_at IS NULL;

-- What is known of a rule between two looks.
CREATE TABLE alert_rule (
    name   text PRIMARY KEY,
    digest text NOT NULL,
    since  timestamptz NOT NULL DEFAULT clock_timestamp(), -- it has been in force
    met_at timestamptz,                                    -- the threshold has been crossed since
    hit_at timestamptz                                     -- what it looks for was last there
);

-- How often a rule about a rate has found what it looks for.
CREATE TABLE alert_hit (
    rule  text NOT NULL,
    about text NOT NULL,
    at    timestamptz NOT NULL,
    n     integer NOT NULL
);

CREATE INDEX alert_hit_rule ON alert_hit (rule, about, at);

-- How far logs and events were looked at.
CREATE TABLE alert_look (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    log_id bigint NOT NULL,
    xact   xid8 NOT NULL,
    at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO alert_look (log_id, xact) VALUES (0, pg_current_xact_id());

CREATE TABLE silence (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule    text NOT NULL,                              -- a pattern; * stands for any characters
    about   text NOT NULL DEFAULT '*',
    until   timestamptz NOT NULL,
    made_by text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The outbox of the notifiers.
CREATE TABLE notification (
    id       bigint PRIMARY KEY,
    notifier text NOT NULL,
    subject  text NOT NULL,                             -- what it is about: rule NAME, or run ID
    body     bytea NOT NULL,
    made_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at   timestamptz DEFAULT clock_timestamp(),     -- NULL: it is over
    tries    integer NOT NULL DEFAULT 0,
    sent_at  timestamptz,
    error    bytea                                      -- why it could not be sent the last time
);

CREATE INDEX notification_due ON notification (due_at) WHERE due_at IS NOT NULL;


-- Who follows which run, so that its events are told at once. Lost in a crash, and made known again.
CREATE UNLOGGED TABLE followed (
    root_id text PRIMARY KEY,
    until   timestamptz NOT NULL
);

CREATE FUNCTION tell_followers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM followed) THEN
        PERFORM pg_notify('run_' || f.root_id, 'event') FROM followed f
         WHERE f.until > clock_timestamp() AND f.root_id IN (SELECT n.root_id FROM noted n);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER tell_followers AFTER INSERT ON event REFERENCING NEW TABLE AS noted
   FOR EACH STATEMENT EXECUTE FUNCTION tell_followers();


-- A recorded model call is an event of its run; of its task, the how manyth call in which try.
CREATE FUNCTION note_call() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event (task_id, root_id, kind, cause)
    SELECT t.id, t.root_id, TG_ARGV[0], TG_ARGV[1] || ' ' || NEW.try || '.' || NEW.number
      FROM task t WHERE t.id = NEW.task_id;
    RETURN NULL;
END $$;

CREATE TRIGGER note_call AFTER INSERT ON model_call
   FOR EACH ROW EXECUTE FUNCTION note_call('called', 'call');
CREATE TRIGGER note_call AFTER INSERT ON tool_call
   FOR EACH ROW EXECUTE FUNCTION note_call('used-tool', 'tool call');


-- So is a plan.
CREATE FUNCTION note_plan() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event (task_id, root_id, kind, cause)
    SELECT t.id, t.root_id, 'planned', 'plan ' || NEW.version FROM task t WHERE t.id = NEW.task_id;
    RETURN NULL;
END $$;

CREATE TRIGGER note_plan AFTER INSERT ON plan FOR EACH ROW EXECUTE FUNCTION note_plan();


-- And a question to a person, with its answer; nobody's is the clock's.
CREATE FUNCTION note_approval() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event (task_id, root_id, kind, cause)
    SELECT t.id, t.root_id,
           CASE WHEN NEW.answered_at IS NULL THEN 'asked' ELSE 'answered' END,
           CASE WHEN NEW.answered_at IS NULL THEN NULL ELSE coalesce(NEW.answered_by, 'the clock') END
      FROM task t WHERE t.id = NEW.task_id;
    RETURN NULL;
END $$;

CREATE TRIGGER note_asked AFTER INSERT ON approval FOR EACH ROW EXECUTE FUNCTION note_approval();
CREATE TRIGGER note_answered AFTER UPDATE ON approval FOR EACH ROW
   WHEN (OLD.answered_at IS DISTINCT FROM NEW.answered_at OR OLD.asked_at <> NEW.asked_at)
   EXECUTE FUNCTION note_approval();
