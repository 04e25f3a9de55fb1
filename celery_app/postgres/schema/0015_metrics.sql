-- What is measured: each attempt at a task, what model calls took, what became of the answers; and samples.
--
-- Invariants
--   * Rows of attempt and answer are only ever added, so what is summed up from them never decreases, also
--     when a person has a task tried again.
--   * An attempt is written by the statement that ends it. Bookkeeping and answers of people are none.
--   * Nothing here holds a payload.

-- Since when it could have been claimed; only while it runs, and only of an attempt.
ALTER TABLE task ADD COLUMN ready_at timestamptz;

CREATE TABLE attempt (
    task_id    text NOT NULL,
    name       text NOT NULL,
    agent      text,
    queue      text NOT NULL,
    outcome    text NOT NULL,                          -- the state it left the task in; or why it is queued again
    ready_at   timestamptz NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at   timestamptz NOT NULL
);
CREATE INDEX attempt_ended ON attempt (ended_at);

-- How the questions of a try came out: how each answer became a value, and what was refused since it would
-- not have been whole (overflow, cut).
CREATE TABLE answer (
    task_id text NOT NULL,
    try     integer NOT NULL,
    number  integer NOT NULL,                          -- order within the try; the same in a repetition
    model   text NOT NULL,
    path    text NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (task_id, try, number)
);
CREATE INDEX answer_at ON answer (at);

-- What the server says of a call. NULL: it was made before this was kept.
ALTER TABLE model_call
    ADD COLUMN load_seconds     double precision,
    ADD COLUMN prompt_seconds   double precision,
    ADD COLUMN generate_seconds double precision;
CREATE INDEX model_call_at ON model_call (at);

-- A sample for each interval, and of what is older one for each hour.
CREATE TABLE metric_sample (
    span text NOT NULL CHECK (span IN ('interval', 'hour')),
    slot timestamptz NOT NULL,                         -- when the interval or the hour began
    body jsonb NOT NULL,
    PRIMARY KEY (span, slot)
);


CREATE FUNCTION note_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state = 'running' AND OLD.ready_at IS NOT NULL THEN
        INSERT INTO attempt (task_id, name, agent, queue, outcome, ready_at, started_at, ended_at)
        VALUES (OLD.id, OLD.name, OLD.agent, OLD.queue,
                CASE WHEN NEW.state <> 'queued' THEN NEW.state
                     WHEN NEW.losses > OLD.losses THEN 'lost'
                     WHEN NEW.tries > OLD.tries THEN 'retried'
                     ELSE 'returned' END,
                OLD.ready_at, OLD.started_at, clock_timestamp());
        NEW.ready_at := NULL;
    END IF;
    IF NEW.state = 'running' AND OLD.state = 'queued' AND NOT is_bookkeeping(NEW.name) THEN
        NEW.ready_at := LEAST(GREATEST(OLD.queued_at, OLD.due_at), NEW.started_at);
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER note_attempt BEFORE UPDATE OF state ON task FOR EACH ROW
    WHEN (OLD.state <> NEW.state AND (OLD.state = 'running' OR NEW.state = 'running'))
    EXECUTE FUNCTION note_attempt();


DROP FUNCTION record_call(text, integer, integer, text, text, text, double precision, integer, integer, bytea);

-- As in 0006, with the seconds that the server took for loading, reading and writing.
CREATE FUNCTION record_call(p_task text, p_try integer, p_number integer, p_digest text, p_model text,
                            p_host text, p_seconds double precision, p_prompt integer, p_generated integer,
                            p_load double precision, p_reading double precision, p_writing double precision,
                            p_reply bytea) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    ids text[];
BEGIN
    INSERT INTO model_call (task_id, try, number, digest, model, host, seconds, prompt_tokens,
                            generated_tokens, load_seconds, prompt_seconds, generate_seconds, reply)
    VALUES (p_task, p_try, p_number, p_digest, p_model, p_host, p_seconds, p_prompt, p_generated,
            p_load, p_reading, p_writing, p_reply)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        SELECT t.budgets INTO ids FROM task t WHERE t.id = p_task;
        IF ids <> '{}' THEN
            PERFORM 1 FROM budget b WHERE b.id = ANY (ids) ORDER BY b.id FOR NO KEY UPDATE;
            UPDATE budget b SET used_calls = b.used_calls + 1,
                                used_tokens = b.used_tokens + p_prompt + p_generated
             WHERE b.id = ANY (ids);
            DELETE FROM budget_hold h WHERE h.task_id = p_task;
        END IF;
    END IF;
END $$;


-- How long the spans are together, in seconds.
CREATE FUNCTION length_of(p_spans tstzmultirange) RETURNS double precision LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(extract(epoch FROM sum(upper(span) - lower(span))), 0)::double precision
      FROM unnest(p_spans) AS span;
$$;
