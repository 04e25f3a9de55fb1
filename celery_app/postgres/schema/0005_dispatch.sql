-- Which of the ready tasks go to the broker, and when.
--
-- Nothing can reorder what stands in a list of Redis, so only a small window of each queue is there: as
-- many as keep its workers busy. The rest waits here, in the order: aged priority, deadline, age. A task
-- rises by one of ten levels a minute, so that no flood of urgent ones can hold it up for ever.
--
-- Invariants
--   * A queued row without published_at waits for its turn (or its due_at). Whoever finishes, adds or
--     cancels tasks releases what then has room; every worker looks once a second for the rest.
--   * What is released is noted as published by the same statement, so nobody else sends it. Should its
--     sender die before sending, recovery finds that the broker has no such message.

ALTER TABLE task ADD COLUMN rank bigint GENERATED ALWAYS AS
    (floor(extract(epoch FROM queued_at AT TIME ZONE 'UTC') / 60)::bigint + priority) STORED;
CREATE INDEX task_backlog ON task (queue, rank, deadline, queued_at, position)
    WHERE state = 'queued' AND published_at IS NULL;
CREATE INDEX task_window ON task (queue) WHERE state = 'queued' AND published_at IS NOT NULL;
CREATE INDEX task_busy ON task (queue) WHERE state = 'running';


-- As in 0001, in the order given, and with the priority that a task has come to have by waiting.
CREATE OR REPLACE FUNCTION messages_for(p_ids text[]) RETURNS SETOF message LANGUAGE sql STABLE AS $$
    SELECT h.id, t.id, t.name, t.queue,
           GREATEST(0, t.priority - floor(extract(epoch FROM clock_timestamp() - coalesce(t.queued_at, h.queued_at))
                                          / 60))::smallint,
           t.type, t.agent, t.root_id, t.parent_id
      FROM unnest(p_ids) WITH ORDINALITY AS wanted (id, rank)
      JOIN task h ON h.id = wanted.id
     CROSS JOIN LATERAL unnest(ARRAY[h.id] || h.chain) WITH ORDINALITY AS member (id, place)
      JOIN task t ON t.id = member.id
     ORDER BY wanted.rank, member.place;
$$;


-- Take from the backlog of some queues what their windows have room for; return what is to be sent.
CREATE FUNCTION release_ready(p_queues text[]) RETURNS SETOF message LANGUAGE plpgsql AS $$
DECLARE
    named text;
    room  integer;
    taken text[];
    heads text[] := '{}';
BEGIN
    FOREACH named IN ARRAY p_queues LOOP
        CONTINUE WHEN NOT EXISTS (
            SELECT 1 FROM task t WHERE t.queue = named AND t.state = 'queued' AND t.published_at IS NULL
        );
        -- Twice what runs keeps every worker supplied; the rest lets the first ones start.
        room := 32
            + 2 * (SELECT count(*) FROM task t WHERE t.queue = named AND t.state = 'running')
            - (SELECT count(*) FROM task t
                WHERE t.queue = named AND t.state = 'queued' AND t.published_at IS NOT NULL);
        CONTINUE WHEN room <= 0;
        WITH due AS MATERIALIZED (
            SELECT t.id, t.root_id, row_number() OVER () AS place FROM (
                SELECT t.id, t.root_id FROM task t
                 WHERE t.queue = named AND t.state = 'queued' AND t.published_at IS NULL
                   AND (t.due_at IS NULL OR t.due_at <= clock_timestamp())
                 ORDER BY t.rank, t.deadline, t.queued_at, t.position
                 LIMIT room FOR UPDATE SKIP LOCKED
            ) AS t
        ), noted AS (
            INSERT INTO event (task_id, root_id, kind) SELECT d.id, d.root_id, 'published' FROM due d
        ), sent AS (
            UPDATE task t SET published_at = clock_timestamp() FROM due d WHERE t.id = d.id
        )
        SELECT array_agg(d.id ORDER BY d.place) INTO taken FROM due d;
        heads := heads || taken;
    END LOOP;
    IF heads <> '{}' THEN
        RETURN QUERY SELECT * FROM messages_for(heads);
    END IF;
END $$;


-- The same for every queue that has a backlog.
CREATE FUNCTION release_all() RETURNS SETOF message LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT * FROM release_ready(ARRAY(
        SELECT DISTINCT t.queue FROM task t WHERE t.state = 'queued' AND t.published_at IS NULL
    ));
END $$;


-- As in 0001; what is returned is what has its turn now, in the queues of this task and of what it released.
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
    RETURN QUERY SELECT * FROM release_ready(ARRAY(
        SELECT before.queue UNION SELECT t.queue FROM task t WHERE t.id = ANY (released)
    ));
END $$;


-- As in 0001; a cancelled task leaves room in its window.
CREATE OR REPLACE FUNCTION cancel_task(p_id text) RETURNS SETOF message LANGUAGE plpgsql AS $$
DECLARE
    cancelled text[];
    released  text[];
BEGIN
    WITH RECURSIVE below AS (
        SELECT t.id FROM task t WHERE t.id = p_id
        UNION ALL
        SELECT t.id FROM task t JOIN below ON t.parent_id = below.id
    ), locked AS (
        SELECT t.id FROM task t JOIN below USING (id)
         WHERE t.state NOT IN ('succeeded', 'failed', 'cancelled', 'skipped')
         ORDER BY t.id FOR NO KEY UPDATE OF t
    ), changed AS (
        UPDATE task t SET state = 'cancelled', finished_at = clock_timestamp(), owner = NULL,
                          lease_until = NULL, cause = p_id
          FROM locked WHERE t.id = locked.id
        RETURNING t.id
    )
    SELECT array_agg(c.id) INTO cancelled FROM changed c;
    IF cancelled IS NULL THEN
        RETURN;
    END IF;
    released := settle(cancelled, 'cancelled');
    PERFORM announce(c.id), pg_notify('task_cancelled', c.id) FROM unnest(cancelled) AS c (id);
    RETURN QUERY SELECT * FROM release_ready(ARRAY(
        SELECT DISTINCT t.queue FROM task t WHERE t.id = ANY (cancelled || released)
    ));
END $$;


-- As in 0001; the tasks that can start wait for their turn.
CREATE OR REPLACE FUNCTION retry_task(p_id text) RETURNS SETOF message LANGUAGE plpgsql AS $$
DECLARE
    again text[];
    ready text[];
BEGIN
    WITH RECURSIVE below AS (
        SELECT t.id, t.state FROM task t WHERE t.id = p_id
        UNION ALL
        SELECT t.id, t.state FROM task t JOIN below ON t.parent_id = below.id
    ), reopened AS (
        SELECT below.id FROM below WHERE below.state IN ('failed', 'cancelled')
        UNION
        SELECT next.id FROM reopened
          JOIN LATERAL (
            SELECT parent.id, parent.state FROM task t JOIN task parent ON parent.id = t.parent_id
             WHERE t.id = reopened.id
            UNION ALL
            SELECT body.id, body.state FROM edge e JOIN task body ON body.id = e.body_id
             WHERE e.task_id = reopened.id
          ) AS next ON next.state IN ('failed', 'cancelled', 'skipped')
    )
    SELECT array_agg(r.id) INTO again FROM reopened r;
    IF again IS NULL THEN
        RETURN;
    END IF;
    PERFORM 1 FROM task t WHERE t.id = ANY (again) ORDER BY t.id FOR NO KEY UPDATE;
    UPDATE edge SET satisfied = NULL WHERE task_id = ANY (again);
    UPDATE task t
       SET state = CASE WHEN EXISTS (SELECT 1 FROM task c WHERE c.parent_id = t.id)
                        THEN 'expanded' ELSE 'pending' END,
           unmet = (SELECT count(*) FROM edge e WHERE e.body_id = t.id AND e.satisfied IS NULL),
           tries = t.tries + 1, losses = 0, cause = NULL, result = NULL, error = NULL,
           queued_at = NULL, published_at = NULL, due_at = NULL, started_at = NULL, finished_at = NULL
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
