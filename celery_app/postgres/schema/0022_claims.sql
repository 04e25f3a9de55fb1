-- A claim does not wait for the disk: its work may begin at once.
--
-- Invariants
--   * Should the server die, claims of its last moments may be undone. Their tasks stand in their queues again
--     and are sent again; whoever runs them is fenced out by the next claim, or by there being none.
--   * Whatever is committed for a task after its claim is on disk no sooner than the claim.
--   * A token is never given twice for a task, not even by a server that has lost some. A sequence would go
--     back with what is lost; tokens are the microseconds of the clock.

CREATE FUNCTION next_fence(p_newest bigint) RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT GREATEST(p_newest + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
$$;


-- As in 0020.
CREATE OR REPLACE FUNCTION claim_task(p_id text, p_name text, p_owner text, p_seconds double precision)
RETURNS TABLE (fence bigint, attempt integer, tries integer, root_id text, parent_id text, agent text,
               budgets text[], backlog text, seconds_left double precision, spec bytea)
LANGUAGE plpgsql AS $$
DECLARE
    claimed task%ROWTYPE;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE task t
       SET state = 'running', fence = next_fence(t.fence), owner = p_owner, due_at = NULL,
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


-- As in 0007.
CREATE OR REPLACE FUNCTION end_waiting(p_id text, p_state text, p_result bytea, p_error bytea)
RETURNS SETOF message LANGUAGE plpgsql AS $$
DECLARE
    token bigint;
BEGIN
    UPDATE task t SET state = 'running', fence = next_fence(t.fence), waits_for = NULL, reason = NULL
     WHERE t.id = p_id AND t.state = 'waiting' AND t.waits_for = 'approval'
    RETURNING t.fence INTO token;
    IF FOUND THEN
        RETURN QUERY SELECT * FROM finish_task(p_id, token, p_state, p_result, p_error, 0, 0, NULL);
    END IF;
END $$;


-- As in 0009.
CREATE OR REPLACE FUNCTION end_expired(p_id text, p_error bytea) RETURNS SETOF message LANGUAGE plpgsql AS $$
DECLARE
    below record;
    token bigint;
BEGIN
    PERFORM 1 FROM task t WHERE t.id = p_id AND t.state = 'expanded' AND t.expires_at <= clock_timestamp();
    IF NOT FOUND THEN
        RETURN;
    END IF;
    FOR below IN SELECT t.id FROM task t WHERE t.parent_id = p_id ORDER BY t.id LOOP
        RETURN QUERY SELECT * FROM cancel_task(below.id);
    END LOOP;
    UPDATE task t SET state = 'running', fence = next_fence(t.fence)
     WHERE t.id = p_id AND t.state IN ('expanded', 'queued') RETURNING t.fence INTO token;
    IF FOUND THEN
        RETURN QUERY SELECT * FROM finish_task(p_id, token, 'failed', NULL, p_error, 0, 0, NULL);
    END IF;
END $$;

DROP SEQUENCE fence;
-- task_handed_in answers whatever it did.
DROP INDEX task_newest;

ALTER FUNCTION claim_task SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION claim_task SET enable_seqscan = off;
