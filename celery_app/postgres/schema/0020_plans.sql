-- Plans of the way of every task: made once for a connection, and always by an index, whatever the statistics say.
-- A planner that has not seen a table grow yet reads all of it, and to plan takes longer than to do.

-- As in 0007, with a plan that is kept between calls, which a function in plain SQL has from version 18 only.
CREATE OR REPLACE FUNCTION claim_task(p_id text, p_name text, p_owner text, p_seconds double precision)
RETURNS TABLE (fence bigint, attempt integer, tries integer, root_id text, parent_id text, agent text,
               budgets text[], backlog text, seconds_left double precision, spec bytea)
LANGUAGE plpgsql AS $$
DECLARE
    claimed task%ROWTYPE;
BEGIN
    UPDATE task t
       SET state = 'running', fence = nextval('fence'), owner = p_owner, due_at = NULL,
           lease_until = clock_timestamp() + make_interval(secs => p_seconds),
           attempts = t.attempts + (NOT is_bookkeeping(p_name))::integer,
           started_at = CASE WHEN is_bookkeeping(p_name) THEN coalesce(t.started_at, clock_timestamp())
                             ELSE clock_timestamp() END
     WHERE t.id = p_id AND t.name = p_name AND t.state = 'queued'
       AND (t.due_at IS NULL OR t.due_at <= clock_timestamp())
       AND (t.budgets = '{}' OR is_bookkeeping(p_name) OR NOT out_of_time(t.budgets))
    RETURNING t.* INTO claimed;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO event (task_id, root_id, kind) VALUES (p_id, claimed.root_id, 'started');
    RETURN QUERY SELECT
        claimed.fence, claimed.attempts, claimed.tries, claimed.root_id, claimed.parent_id, claimed.agent,
        claimed.budgets,
        (SELECT b.queue FROM task b WHERE b.queue = claimed.queue AND b.state = 'queued'
                                      AND b.published_at IS NULL LIMIT 1),
        LEAST(claimed.timeout, extract(epoch FROM claimed.deadline - clock_timestamp()))::double precision,
        claimed.spec;
END $$;

DO $$
DECLARE
    named regprocedure;
BEGIN
    FOR named IN
        SELECT oid::regprocedure FROM pg_proc
         WHERE pronamespace = current_schema()::regnamespace AND proname IN (
            'claim_task', 'refused_claim', 'finish_task', 'put_back', 'become_task', 'skip_step', 'cancel_task',
            'retry_task', 'release_ready', 'store_result', 'return_part', 'open_chord', 'metas')
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET plan_cache_mode = force_generic_plan SET enable_seqscan = off', named);
    END LOOP;
END $$;
