-- The task graph: what is to be done (task), what waits for what (edge), and what happened (event).
--
-- Invariants
--   * A task row's id is its Celery task id; root_id is the id of the whole run.
--   * unmet counts the edges into a task that are not yet settled; a task is queued when it reaches zero.
--   * A finished task, its edges and what became ready are written by one function in one transaction.
--   * A queued row with published_at NULL is the outbox: whoever finds it old publishes it again.
--   * The columns spec, result and error hold payloads; everything else is readable bookkeeping.

CREATE SEQUENCE fence;

CREATE TABLE task (
    id               text PRIMARY KEY,
    root_id          text NOT NULL,
    parent_id        text,
    position         integer NOT NULL DEFAULT 0,       -- order among its siblings
    name             text NOT NULL,                    -- the Celery task that runs it in its present phase
    type             text NOT NULL,
    agent            text,
    queue            text NOT NULL,
    priority         smallint NOT NULL DEFAULT 6,      -- Redis level: 0 is served first
    state            text NOT NULL,
    unmet            integer NOT NULL DEFAULT 0,
    chain            text[] NOT NULL DEFAULT '{}',     -- tasks that follow in this task's message
    idempotency_key  text UNIQUE,
    attempts         integer NOT NULL DEFAULT 0,       -- times it was started
    tries            integer NOT NULL DEFAULT 0,       -- times it was tried anew after an error
    losses           integer NOT NULL DEFAULT 0,       -- times its worker vanished
    fence            bigint NOT NULL DEFAULT 0,        -- token of the newest claim
    owner            text,
    lease_until      timestamptz,
    cause            text,                             -- the task whose end released or skipped this one
    timeout          double precision,                 -- seconds that one attempt may take
    deadline         timestamptz,
    due_at           timestamptz,                      -- a delayed retry is not released before this
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    queued_at        timestamptz,
    published_at     timestamptz,
    started_at       timestamptz,
    finished_at      timestamptz,
    prompt_tokens    integer NOT NULL DEFAULT 0,
    generated_tokens integer NOT NULL DEFAULT 0,
    spec             bytea NOT NULL,
    result           bytea,
    error            bytea
) WITH (fillfactor = 70);

CREATE INDEX task_root ON task (root_id, position);
CREATE INDEX task_parent ON task (parent_id, position);
CREATE INDEX task_newest ON task (created_at DESC) WHERE parent_id IS NULL;
CREATE INDEX task_queued ON task (queued_at) WHERE state = 'queued';
CREATE INDEX task_running ON task (lease_until) WHERE state = 'running';

CREATE TABLE edge (
    task_id   text NOT NULL,                           -- what comes first
    body_id   text NOT NULL,                           -- what waits for it
    position  integer NOT NULL,                        -- order of the body's inputs
    need      text NOT NULL DEFAULT 'success' CHECK (need IN ('success', 'failure', 'always')),
    satisfied boolean,                                 -- NULL until task_id has ended
    PRIMARY KEY (task_id, body_id)
);

CREATE INDEX edge_body ON edge (body_id, position);

CREATE TABLE event (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    xact    xid8 NOT NULL DEFAULT pg_current_xact_id(), -- events of one commit share it
    task_id text NOT NULL,
    root_id text NOT NULL,
    kind    text NOT NULL,
    cause   text
);

CREATE INDEX event_task ON event (task_id, id);
CREATE INDEX event_root ON event (root_id, id);


-- Wake whoever waits for a result: 64 fixed channels, so that a listener hears about its share only.
CREATE FUNCTION announce(p_id text) RETURNS void LANGUAGE sql AS $$
    SELECT pg_notify('result_' || (get_byte(decode(md5(p_id), 'hex'), 0) & 63), p_id);
$$;


-- Note that tasks have ended, all in one state, and settle the edges out of them. Bodies whose last edge
-- is met become queued; bodies that needed what did not come are skipped, and so on downwards. Rows are
-- locked in the order of their ids, so that two tasks with common bodies cannot wait for each other; an
-- end is noted once the bodies are locked, so that the order of events is the order of commits.
-- For tasks that had ended before their edges were written, p_note is false. Returns the ids that
-- became queued.
CREATE FUNCTION settle(p_ids text[], p_state text, p_note boolean DEFAULT true)
RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    frontier text[] := p_ids;
    ending   text := p_state;
    bodies   text[];
    counts   integer[];
    oks      boolean[];
    doomed   text[];
    ready    text[];
    released text[] := '{}';
BEGIN
    LOOP
        WITH met AS (
            UPDATE edge SET satisfied = (need = 'always' OR (need = 'success') = (ending = 'succeeded'))
             WHERE task_id = ANY (frontier) AND satisfied IS NULL
            RETURNING body_id, satisfied
        ), per_body AS (
            SELECT body_id, count(*)::integer AS n, bool_and(satisfied) AS ok FROM met GROUP BY body_id
        )
        SELECT array_agg(body_id), array_agg(n), array_agg(ok) INTO bodies, counts, oks FROM per_body;
        WITH locked AS (
            SELECT id, state, unmet FROM task WHERE id = ANY (bodies) ORDER BY id FOR NO KEY UPDATE
        )
        SELECT array_agg(locked.id) FILTER (WHERE NOT m.ok AND locked.state = 'pending'),
               array_agg(locked.id) FILTER (WHERE m.ok AND locked.unmet = m.n
                                              AND locked.state IN ('pending', 'expanded'))
          INTO doomed, ready
          FROM locked JOIN unnest(bodies, counts, oks) AS m (id, n, ok) ON m.id = locked.id;
        INSERT INTO event (task_id, root_id, kind, cause)
        SELECT id, root_id, ending, nullif(p_ids[1], id) FROM task
         WHERE id = ANY (frontier) AND (p_note OR frontier <> p_ids);
        EXIT WHEN bodies IS NULL;

        UPDATE task SET unmet = unmet - m.n
          FROM unnest(bodies, counts) AS m (id, n) WHERE task.id = m.id;

        IF ready IS NOT NULL THEN
            UPDATE task SET state = 'queued', queued_at = clock_timestamp(), published_at = NULL,
                            cause = p_ids[1]
             WHERE id = ANY (ready);
            INSERT INTO event (task_id, root_id, kind, cause)
            SELECT id, root_id, 'queued', p_ids[1] FROM task WHERE id = ANY (ready);
            released := released || ready;
        END IF;

        EXIT WHEN doomed IS NULL;
        UPDATE task SET state = 'skipped', finished_at = clock_timestamp(), cause = p_ids[1]
         WHERE id = ANY (doomed);
        PERFORM announce(id) FROM unnest(doomed) AS d (id);
        frontier := doomed;
        ending := 'skipped';
    END LOOP;
    RETURN released;
END $$;


-- What the broker must be told about one task. The tasks of one chain share their head.
CREATE TYPE message AS (
    head      text,
    id        text,
    name      text,
    queue     text,
    priority  smallint,
    type      text,
    agent     text,
    root_id   text,
    parent_id text
);


-- What must be sent to the broker for the given heads: each head, then the tasks of its chain.
CREATE FUNCTION messages_for(p_ids text[]) RETURNS SETOF message LANGUAGE sql STABLE AS $$
    SELECT h.id, t.id, t.name, t.queue, t.priority, t.type, t.agent, t.root_id, t.parent_id
      FROM unnest(p_ids) WITH ORDINALITY AS wanted (id, rank)
      JOIN task h ON h.id = wanted.id
     CROSS JOIN LATERAL unnest(ARRAY[h.id] || h.chain) WITH ORDINALITY AS member (id, place)
      JOIN task t ON t.id = member.id
     ORDER BY h.priority, wanted.rank, member.place;
$$;


-- Claim a task for a worker: the only way in which work starts. No row means: not now, not here.
CREATE FUNCTION claim_task(p_id text, p_name text, p_owner text, p_seconds double precision)
RETURNS TABLE (fence bigint, attempt integer, tries integer, root_id text, parent_id text, agent text,
               seconds_left double precision, spec bytea) LANGUAGE sql AS $$
    WITH claimed AS (
        UPDATE task t
           SET state = 'running', fence = nextval('fence'), owner = p_owner, due_at = NULL,
               lease_until = clock_timestamp() + make_interval(secs => p_seconds),
               -- Collecting is the end of an attempt, not one more.
               attempts = t.attempts + (p_name <> 'task.collect')::integer,
               started_at = CASE WHEN p_name = 'task.collect' THEN coalesce(t.started_at, clock_timestamp())
                                 ELSE clock_timestamp() END
         WHERE t.id = p_id AND t.name = p_name AND t.state = 'queued'
           AND (t.due_at IS NULL OR t.due_at <= clock_timestamp())
        RETURNING t.*
    ), noted AS (
        INSERT INTO event (task_id, root_id, kind) SELECT c.id, c.root_id, 'started' FROM claimed c
    )
    SELECT c.fence, c.attempts, c.tries, c.root_id, c.parent_id, c.agent,
           LEAST(c.timeout, extract(epoch FROM c.deadline - clock_timestamp()))::double precision, c.spec
      FROM claimed c;
$$;


-- Finish a running task: result, state, edges, event and notification in one transaction. Returns what
-- is to be published now. p_chained is the task that the running message itself will start next; it is
-- marked as published here because nobody else will publish it.
-- Called again with the same fence after a lost connection it changes nothing and returns nothing.
CREATE FUNCTION finish_task(p_id text, p_fence bigint, p_state text, p_result bytea, p_error bytea,
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
        released := array_remove(released, p_chained);
    END IF;
    IF released <> '{}' THEN
        RETURN QUERY SELECT * FROM messages_for(released);
    END IF;
END $$;


-- Cancel a task and everything below it. Returns what became ready elsewhere because of it, so that
-- it can be published; running members hear of it on the channel task_cancelled.
CREATE FUNCTION cancel_task(p_id text) RETURNS SETOF message LANGUAGE plpgsql AS $$
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
    RETURN QUERY SELECT * FROM messages_for(released);
END $$;


-- Try again, because a person asks for it: what failed or was cancelled at or below a task, what was
-- skipped for its sake, and the parents that judged it. Results that are there stay. Returns what is
-- to be published now.
CREATE FUNCTION retry_task(p_id text) RETURNS SETOF message LANGUAGE plpgsql AS $$
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
    RETURN QUERY SELECT * FROM messages_for(ready);
END $$;
