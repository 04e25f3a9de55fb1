-- Runs of workflows. A run is a task, its steps are its subtasks, and nothing about them is kept twice.
--
-- Invariants
--   * A step waits by edges that are met however the step before ends. Whether it runs is decided when it
--     is looked at (`workflow.step`), from the results of the others, and decided again the same way
--     should that be lost. What it is then to do replaces it: the row becomes that task, or its parent.
--   * A run keeps its definition, and those of the workflows inside it, by their hashes.
--   * A question to a person holds no worker. It is answered once, by one transaction that ends its step.

ALTER TABLE task
    ADD COLUMN step        text,                       -- the step of the run above that it is
    ADD COLUMN skipped_for text,                       -- why that step was skipped
    ADD COLUMN expires_at  timestamptz;                -- when work that was split up must have ended

CREATE INDEX task_expiring ON task (expires_at) WHERE state = 'expanded' AND expires_at IS NOT NULL;

CREATE TABLE definition (
    digest     text PRIMARY KEY,
    name       text NOT NULL,
    body       bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE run (
    id          text PRIMARY KEY,                      -- the task that it is
    workflow    text NOT NULL,
    digest      text NOT NULL,
    generation  integer NOT NULL DEFAULT 0,            -- a run inside a run that is tried again has new steps
    inside      jsonb NOT NULL DEFAULT '{}',           -- the workflows inside it: name to digest
    context     bytea NOT NULL,                        -- what its caller gave
    inputs      bytea NOT NULL,                        -- and what was made of it
    trigger     text,
    due         timestamptz,
    event       bytea,
    forked_from text,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX run_workflow ON run (workflow, created_at DESC);

CREATE TABLE approval (
    task_id       text PRIMARY KEY,
    question      bytea NOT NULL,                      -- with the options or the schema of the answer
    asked_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at    timestamptz,
    late_state    text,                                -- how the step ends when nobody answers in time
    late_result   bytea,
    late_error    bytea,
    answered_at   timestamptz,
    answered_by   text
);

CREATE INDEX approval_open ON approval (expires_at) WHERE answered_at IS NULL;


CREATE FUNCTION is_bookkeeping(p_name text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT p_name IN ('task.collect', 'workflow.step', 'workflow.collect', 'workflow.finish');
$$;


-- As in 0006. To look at a step, to collect, and to end a run are no attempts of the work itself.
CREATE OR REPLACE FUNCTION claim_task(p_id text, p_name text, p_owner text, p_seconds double precision)
RETURNS TABLE (fence bigint, attempt integer, tries integer, root_id text, parent_id text, agent text,
               budgets text[], backlog text, seconds_left double precision, spec bytea)
LANGUAGE sql AS $$
    WITH claimed AS (
        UPDATE task t
           SET state = 'running', fence = nextval('fence'), owner = p_owner, due_at = NULL,
               lease_until = clock_timestamp() + make_interval(secs => p_seconds),
               attempts = t.attempts + (NOT is_bookkeeping(p_name))::integer,
               started_at = CASE WHEN is_bookkeeping(p_name) THEN coalesce(t.started_at, clock_timestamp())
                                 ELSE clock_timestamp() END
         WHERE t.id = p_id AND t.name = p_name AND t.state = 'queued'
           AND (t.due_at IS NULL OR t.due_at <= clock_timestamp())
           AND (t.budgets = '{}' OR is_bookkeeping(p_name) OR NOT out_of_time(t.budgets))
        RETURNING t.*
    ), noted AS (
        INSERT INTO event (task_id, root_id, kind) SELECT c.id, c.root_id, 'started' FROM claimed c
    )
    SELECT c.fence, c.attempts, c.tries, c.root_id, c.parent_id, c.agent, c.budgets,
           (SELECT b.queue FROM task b WHERE b.queue = c.queue AND b.state = 'queued'
                                         AND b.published_at IS NULL LIMIT 1),
           LEAST(c.timeout, extract(epoch FROM c.deadline - clock_timestamp()))::double precision, c.spec
      FROM claimed c;
$$;


-- As in 0006. Bookkeeping is free.
CREATE OR REPLACE FUNCTION finish_task(p_id text, p_fence bigint, p_state text, p_result bytea, p_error bytea,
                            p_prompt_tokens integer, p_generated_tokens integer, p_chained text)
RETURNS SETOF message LANGUAGE plpgsql AS $$
DECLARE
    before   task%ROWTYPE;
    released text[];
BEGIN
    SELECT * INTO before FROM task t WHERE t.id = p_id FOR NO KEY UPDATE;
    IF NOT FOUND OR before.fence <> p_fence THEN
        RAISE EXCEPTION 'fenced out' USING ERRCODE = 'AG001';
    END IF;
    IF before.state <> 'running' THEN
        IF before.state = p_state THEN
            RETURN;
        END IF;
        RAISE EXCEPTION 'fenced out' USING ERRCODE = 'AG001';
    END IF;
    UPDATE task t
       SET state = p_state, result = p_result, error = p_error, finished_at = clock_timestamp(),
           owner = NULL, lease_until = NULL,
           prompt_tokens = t.prompt_tokens + p_prompt_tokens,
           generated_tokens = t.generated_tokens + p_generated_tokens
     WHERE t.id = p_id;
    released := settle(ARRAY[p_id], p_state);
    PERFORM announce(p_id);
    IF p_chained = ANY (released) AND p_state = 'succeeded' THEN
        UPDATE task t SET published_at = clock_timestamp() WHERE t.id = p_chained;
    END IF;
    IF NOT is_bookkeeping(before.name) THEN
        PERFORM book_seconds(before.budgets, before.started_at);
    END IF;
    RETURN QUERY SELECT * FROM release_ready(ARRAY(
        SELECT before.queue UNION SELECT t.queue FROM task t WHERE t.id = ANY (released)
        UNION SELECT * FROM queues_behind(before.quotas)
    ));
END $$;


-- As in 0006. A run inside a run begins anew when it is tried again.
CREATE OR REPLACE FUNCTION put_back(p_id text, p_fence bigint, p_state text, p_delay double precision,
                         p_tries integer, p_error bytea, p_waits_for text, p_reason text)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    before task%ROWTYPE;
BEGIN
    SELECT * INTO before FROM task t
     WHERE t.id = p_id AND t.fence = p_fence AND t.state = 'running' FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE task t
       SET state = p_state, queued_at = clock_timestamp(), published_at = NULL, tries = t.tries + p_tries,
           name = CASE WHEN t.name = 'workflow.finish' AND t.parent_id IS NOT NULL AND p_tries > 0
                       THEN 'workflow.call' ELSE t.name END,
           error = p_error, due_at = clock_timestamp() + make_interval(secs => p_delay),
           owner = NULL, lease_until = NULL, waits_for = p_waits_for, reason = p_reason
     WHERE t.id = p_id;
    IF NOT is_bookkeeping(before.name) THEN
        PERFORM book_seconds(before.budgets, before.started_at);
    END IF;
    INSERT INTO event (task_id, root_id, kind)
    VALUES (p_id, before.root_id, CASE p_state WHEN 'waiting' THEN 'waiting' ELSE 'retried' END);
    RETURN true;
END $$;


-- Let a claimed task become another one, which has its turn as any other. Returns what is to be published,
-- of its new queue and of p_backlog, which it leaves.
CREATE FUNCTION become_task(p_id text, p_fence bigint, p_name text, p_queue text, p_type text, p_agent text,
                            p_timeout double precision, p_quotas text[], p_amounts double precision[],
                            p_spec bytea, p_backlog text)
RETURNS SETOF message LANGUAGE plpgsql AS $$
BEGIN
    UPDATE task t
       SET state = 'queued', name = p_name, queue = p_queue, type = p_type, agent = p_agent,
           timeout = p_timeout, quotas = p_quotas, amounts = p_amounts, spec = p_spec,
           queued_at = clock_timestamp(), published_at = NULL, due_at = NULL, owner = NULL, lease_until = NULL
     WHERE t.id = p_id AND t.fence = p_fence AND t.state = 'running';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'fenced out' USING ERRCODE = 'AG001';
    END IF;
    INSERT INTO event (task_id, root_id, kind) SELECT t.id, t.root_id, 'queued' FROM task t WHERE t.id = p_id;
    RETURN QUERY SELECT * FROM release_ready(ARRAY(SELECT p_queue UNION SELECT coalesce(p_backlog, p_queue)));
END $$;


-- End a step that is not to run. What waits for it is looked at with that in mind.
CREATE FUNCTION skip_step(p_id text, p_fence bigint, p_why text) RETURNS SETOF message
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE task t SET skipped_for = p_why WHERE t.id = p_id AND t.fence = p_fence AND t.state = 'running';
    RETURN QUERY SELECT * FROM finish_task(p_id, p_fence, 'skipped', NULL, NULL, 0, 0, NULL);
END $$;


-- End a step that waits for an answer; nothing happens if it waits no more.
CREATE FUNCTION end_waiting(p_id text, p_state text, p_result bytea, p_error bytea) RETURNS SETOF message
LANGUAGE plpgsql AS $$
DECLARE
    token bigint;
BEGIN
    UPDATE task t SET state = 'running', fence = nextval('fence'), waits_for = NULL, reason = NULL
     WHERE t.id = p_id AND t.state = 'waiting' AND t.waits_for = 'approval'
    RETURNING t.fence INTO token;
    IF FOUND THEN
        RETURN QUERY SELECT * FROM finish_task(p_id, token, p_state, p_result, p_error, 0, 0, NULL);
    END IF;
END $$;


-- Answer for those who did not do so in time.
CREATE FUNCTION end_unanswered() RETURNS SETOF message LANGUAGE plpgsql AS $$
DECLARE
    late record;
BEGIN
    FOR late IN
        UPDATE approval a SET answered_at = clock_timestamp()
         WHERE a.task_id IN (SELECT o.task_id FROM approval o
                              WHERE o.answered_at IS NULL AND o.expires_at <= clock_timestamp()
                              ORDER BY o.task_id FOR UPDATE SKIP LOCKED)
        RETURNING a.task_id, a.late_state, a.late_result, a.late_error
    LOOP
        RETURN QUERY SELECT * FROM end_waiting(late.task_id, late.late_state, late.late_result, late.late_error);
    END LOOP;
END $$;


-- Stop work that was split up and has not ended in its time: everything below it, then itself.
CREATE FUNCTION end_expired(p_error bytea) RETURNS SETOF message LANGUAGE plpgsql AS $$
DECLARE
    late  record;
    below record;
    token bigint;
BEGIN
    FOR late IN
        SELECT t.id FROM task t WHERE t.state = 'expanded' AND t.expires_at <= clock_timestamp() ORDER BY t.id
    LOOP
        FOR below IN SELECT t.id FROM task t WHERE t.parent_id = late.id ORDER BY t.id LOOP
            RETURN QUERY SELECT * FROM cancel_task(below.id);
        END LOOP;
        UPDATE task t SET state = 'running', fence = nextval('fence')
         WHERE t.id = late.id AND t.state IN ('expanded', 'queued') RETURNING t.fence INTO token;
        IF FOUND THEN
            RETURN QUERY SELECT * FROM finish_task(late.id, token, 'failed', NULL, p_error, 0, 0, NULL);
        END IF;
    END LOOP;
END $$;


-- Open a run again: what goes on with what is below it, what begins anew, and of that the steps, which are
-- looked at again as what they were before they became what they did. Returns what is to be published.
CREATE FUNCTION reopen(p_run text, p_inside text[], p_anew text[], p_steps text[], p_specs bytea[])
RETURNS SETOF message LANGUAGE plpgsql AS $$
DECLARE
    again text[] := p_inside || p_anew;
    ready text[];
BEGIN
    PERFORM 1 FROM task t WHERE t.id = ANY (again) ORDER BY t.id FOR NO KEY UPDATE;
    PERFORM 1 FROM task t WHERE t.id = p_run AND t.state IN ('failed', 'cancelled');
    IF NOT FOUND THEN
        RAISE EXCEPTION 'fenced out' USING ERRCODE = 'AG001';
    END IF;
    UPDATE edge SET satisfied = NULL WHERE task_id = ANY (again);
    UPDATE task t
       SET name = CASE WHEN t.name = 'workflow.finish' AND t.parent_id IS NOT NULL THEN 'workflow.call'
                       ELSE t.name END,
           tries = t.tries + 1
     WHERE t.id = ANY (p_anew);
    UPDATE task t SET name = 'workflow.step', spec = s.spec, quotas = '{}', amounts = '{}', timeout = NULL,
                      agent = NULL, type = 'step', queue = r.queue
      FROM unnest(p_steps, p_specs) AS s (id, spec), task r WHERE t.id = s.id AND r.id = p_run;
    UPDATE task t
       SET state = CASE WHEN t.id = ANY (p_inside) THEN 'expanded' ELSE 'pending' END,
           unmet = (SELECT count(*) FROM edge e WHERE e.body_id = t.id AND e.satisfied IS NULL),
           expires_at = CASE WHEN t.expires_at IS NOT NULL AND t.id = ANY (p_inside)
                             THEN clock_timestamp() + make_interval(secs => t.timeout) END,
           losses = 0, cause = NULL, result = NULL, error = NULL, skipped_for = NULL, reason = NULL,
           waits_for = NULL, queued_at = NULL, published_at = NULL, due_at = NULL, finished_at = NULL,
           started_at = CASE WHEN t.id = ANY (p_inside) THEN t.started_at END
     WHERE t.id = ANY (again);
    WITH freed AS (
        UPDATE task t SET state = 'queued', queued_at = clock_timestamp()
         WHERE t.id = ANY (again) AND t.unmet = 0 RETURNING t.id
    )
    SELECT array_agg(f.id) INTO ready FROM freed f;
    INSERT INTO event (task_id, root_id, kind)
    SELECT t.id, t.root_id, 'retried' FROM task t WHERE t.id = ANY (again);
    RETURN QUERY SELECT * FROM release_ready(ARRAY(
        SELECT DISTINCT t.queue FROM task t WHERE t.id = ANY (ready)
    ));
END $$;
