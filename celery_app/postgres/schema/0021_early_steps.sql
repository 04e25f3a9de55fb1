-- Steps that begin while their plan is still being said: their parent is then running, not expanded.

-- Stop tasks and everything below them that have not ended. Returns those whose end, or whose turn, leaves
-- room in a queue or fills it.
CREATE FUNCTION stop_tasks(p_ids text[], p_state text, p_cause text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    stopped  text[];
    released text[];
BEGIN
    WITH RECURSIVE below AS (
        SELECT t.id FROM task t WHERE t.id = ANY (p_ids)
        UNION ALL
        SELECT t.id FROM task t JOIN below ON t.parent_id = below.id
    ), locked AS (
        SELECT t.id FROM task t JOIN below USING (id)
         WHERE t.state NOT IN ('succeeded', 'failed', 'cancelled', 'skipped')
         ORDER BY t.id FOR NO KEY UPDATE OF t
    ), changed AS (
        UPDATE task t SET state = p_state, finished_at = clock_timestamp(), owner = NULL,
                          lease_until = NULL, cause = p_cause
          FROM locked WHERE t.id = locked.id
        RETURNING t.id
    )
    SELECT array_agg(c.id) INTO stopped FROM changed c;
    IF stopped IS NULL THEN
        RETURN '{}';
    END IF;
    released := settle(stopped, p_state);
    PERFORM announce(s.id), pg_notify('task_cancelled', s.id) FROM unnest(stopped) AS s (id);
    RETURN stopped || released;
END $$;


CREATE FUNCTION queues_of(p_ids text[]) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT DISTINCT t.queue FROM task t WHERE t.id = ANY (p_ids);
$$;


-- As in 0005.
CREATE OR REPLACE FUNCTION cancel_task(p_id text) RETURNS SETOF message LANGUAGE plpgsql AS $$
DECLARE
    changed text[];
BEGIN
    changed := stop_tasks(ARRAY[p_id], 'cancelled', p_id);
    IF changed <> '{}' THEN
        RETURN QUERY SELECT * FROM release_ready(ARRAY(SELECT * FROM queues_of(changed)));
    END IF;
END $$;


-- The plan of a task is whole. What had begun of it and is not in it stops, and is no part of its parent's
-- result. Returns the queues that have room because of it.
CREATE FUNCTION drop_steps(p_parent text, p_plan text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    dropped text[];
BEGIN
    WITH strays AS (
        UPDATE task t SET skipped_for = 'unplanned'
         WHERE t.parent_id = p_parent AND t.id <> ALL (p_plan) RETURNING t.id
    )
    SELECT array_agg(s.id) INTO dropped FROM strays s;
    IF dropped IS NOT NULL THEN
        RETURN QUERY SELECT * FROM queues_of(stop_tasks(dropped, 'skipped', p_parent));
    END IF;
END $$;


-- As in 0007. What had begun of a plan that never becomes whole is cancelled.
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
    IF before.name = 'task.plan' THEN
        released := released || stop_tasks(
            ARRAY(SELECT c.id FROM task c WHERE c.parent_id = p_id), 'cancelled', p_id);
    END IF;
    IF NOT is_bookkeeping(before.name) THEN
        PERFORM book_seconds(before.budgets, before.started_at);
    END IF;
    RETURN QUERY SELECT * FROM release_ready(ARRAY(
        SELECT before.queue UNION SELECT t.queue FROM task t WHERE t.id = ANY (released)
        UNION SELECT * FROM queues_behind(before.quotas)
    ));
END $$;

DO $$
DECLARE
    named regprocedure;
BEGIN
    FOR named IN
        SELECT oid::regprocedure FROM pg_proc
         WHERE pronamespace = current_schema()::regnamespace
           AND proname IN ('finish_task', 'cancel_task', 'stop_tasks', 'drop_steps')
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = force_generic_plan SET enable_seqscan = off', named);
    END LOOP;
END $$;
