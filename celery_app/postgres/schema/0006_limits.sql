-- Limits that hold across all workers: quotas, which tasks take from while they are under way, and
-- budgets, which they use up.
--
-- Invariants
--   * A task is released only when every quota that it names has room. It takes from them until it has
--     ended or stands in the backlog again. What is taken is summed up from the tasks themselves, so that
--     nothing leaks when a process dies. A quota that nobody has described has room for everything.
--   * Quotas are given out by one transaction at a time. It waits for no row, so it cannot be waited for
--     in a circle.
--   * What a model call used is booked on the budgets of its task by the statement that records its
--     answer, once. What the calls under way may use at most is held back until then.

ALTER TABLE task
    ADD COLUMN quotas    text[] NOT NULL DEFAULT '{}',              -- what it takes from
    ADD COLUMN amounts   double precision[] NOT NULL DEFAULT '{}',  -- and how much of each
    ADD COLUMN budgets   text[] NOT NULL DEFAULT '{}',              -- what it uses up
    ADD COLUMN waits_for text,                                      -- why it is in the state waiting
    ADD COLUMN reason    text,                                      -- the same for people
    ADD COLUMN risk      text;                                      -- why it will miss its deadline

CREATE INDEX task_limited ON task (queue)
    WHERE state = 'queued' AND published_at IS NULL AND quotas <> '{}';
CREATE INDEX task_taking ON task (queue)
    WHERE quotas <> '{}' AND (state IN ('running', 'expanded')
                              OR (state = 'queued' AND (published_at IS NOT NULL OR name = 'task.collect')));
CREATE INDEX task_due ON task (root_id) WHERE deadline IS NOT NULL
    AND state IN ('pending', 'queued', 'running', 'waiting', 'expanded');
CREATE INDEX task_waiting ON task (root_id) WHERE state = 'waiting';

CREATE TABLE quota (
    name       text PRIMARY KEY,
    capacity   double precision,                       -- what may be taken at once; NULL: this is a rate
    rate       double precision,                       -- starts in a second
    allowance  double precision NOT NULL DEFAULT 1,    -- starts that were free at counted_at
    counted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE budget (
    id           text PRIMARY KEY,                     -- a task, with all below it; or project:NAME
    tokens       bigint,                               -- limits; NULL: none
    calls        bigint,
    seconds      double precision,
    used_tokens  bigint NOT NULL DEFAULT 0,
    used_calls   bigint NOT NULL DEFAULT 0,
    used_seconds double precision NOT NULL DEFAULT 0
);

-- What a model call under way may use at most. It counts as long as its claim is the newest.
CREATE TABLE budget_hold (
    task_id text PRIMARY KEY,
    fence   bigint NOT NULL,
    tokens  bigint NOT NULL
);


-- What is left of each quota now.
CREATE FUNCTION quota_room() RETURNS TABLE (name text, room double precision) LANGUAGE sql AS $$
    WITH taken AS (
        SELECT u.name, sum(u.amount) AS amount
          FROM task t CROSS JOIN LATERAL unnest(t.quotas, t.amounts) AS u (name, amount)
         WHERE t.quotas <> '{}' AND (t.state IN ('running', 'expanded')
               OR (t.state = 'queued' AND (t.published_at IS NOT NULL OR t.name = 'task.collect')))
         GROUP BY u.name
    )
    SELECT q.name,
           CASE WHEN q.rate IS NULL THEN q.capacity - coalesce(taken.amount, 0)
                -- Looks are a second apart at worst: so many starts may be made up for.
                ELSE LEAST(GREATEST(1, q.rate),
                           q.allowance + q.rate * extract(epoch FROM clock_timestamp() - q.counted_at))
           END
      FROM quota q LEFT JOIN taken USING (name);
$$;


-- Choose from the backlog of a queue, in its order, what every quota has room for. A quota that is too
-- small for the first that wants it is kept for that one.
CREATE FUNCTION admit(p_queue text, p_most integer) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    names    text[];
    rooms    double precision[];
    full_    text[] := '{}';
    admitted text[] := '{}';
    refused  boolean;
    waiting  record;
    places   integer[];
    missing  text[];
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('quota'));
    SELECT array_agg(r.name), array_agg(r.room) INTO names, rooms FROM quota_room() r;
    LOOP
        refused := false;
        FOR waiting IN
            SELECT t.id, t.name, t.quotas, t.amounts FROM task t
             WHERE t.queue = p_queue AND t.state = 'queued' AND t.published_at IS NULL
               AND (t.due_at IS NULL OR t.due_at <= clock_timestamp())
               AND NOT t.quotas && full_ AND t.id <> ALL (admitted)
             ORDER BY t.rank, t.deadline, t.queued_at, t.position
             LIMIT p_most - cardinality(admitted) FOR UPDATE SKIP LOCKED
        LOOP
            IF waiting.name <> 'task.collect' THEN
                SELECT array_agg(w.quota) FILTER (WHERE rooms[w.place] + 1e-9 < w.amount),
                       array_agg(w.place ORDER BY w.n)
                  INTO missing, places
                  FROM (SELECT u.quota, u.amount, u.n, array_position(names, u.quota) AS place
                          FROM unnest(waiting.quotas, waiting.amounts)
                               WITH ORDINALITY AS u (quota, amount, n)) AS w;
                IF missing IS NOT NULL THEN
                    full_ := full_ || missing;
                    refused := true;
                    CONTINUE;
                END IF;
                FOR i IN 1 .. coalesce(cardinality(places), 0) LOOP
                    CONTINUE WHEN places[i] IS NULL;
                    rooms[places[i]] := rooms[places[i]] - waiting.amounts[i];
                END LOOP;
            END IF;
            admitted := admitted || waiting.id;
        END LOOP;
        EXIT WHEN NOT refused OR cardinality(admitted) >= p_most;
    END LOOP;
    UPDATE quota SET allowance = left_.room, counted_at = clock_timestamp()
      FROM unnest(names, rooms) AS left_ (name, room)
     WHERE quota.name = left_.name AND quota.rate IS NOT NULL AND quota.allowance <> left_.room;
    RETURN admitted;
END $$;


-- As in 0005, and what takes from quotas waits until they have room.
CREATE OR REPLACE FUNCTION release_ready(p_queues text[]) RETURNS SETOF message LANGUAGE plpgsql AS $$
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
        IF EXISTS (SELECT 1 FROM task t WHERE t.queue = named AND t.state = 'queued'
                      AND t.published_at IS NULL AND t.quotas <> '{}') THEN
            taken := admit(named, room);
            WITH noted AS (
                INSERT INTO event (task_id, root_id, kind)
                SELECT t.id, t.root_id, 'published'
                  FROM unnest(taken) WITH ORDINALITY AS a (id, place) JOIN task t USING (id) ORDER BY a.place
            )
            UPDATE task t SET published_at = clock_timestamp() WHERE t.id = ANY (taken);
        ELSE
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
        END IF;
        heads := heads || taken;
    END LOOP;
    IF heads <> '{}' THEN
        RETURN QUERY SELECT * FROM messages_for(heads);
    END IF;
END $$;


-- The queues in which somebody may have waited for what a task gives back.
CREATE FUNCTION queues_behind(p_quotas text[]) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT DISTINCT t.queue FROM task t
     WHERE p_quotas <> '{}' AND t.state = 'queued' AND t.published_at IS NULL AND t.quotas <> '{}';
$$;


-- Book time at work. Budgets are always locked in the order of their ids.
CREATE FUNCTION book_seconds(p_budgets text[], p_since timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_budgets <> '{}' AND p_since IS NOT NULL THEN
        PERFORM 1 FROM budget WHERE id = ANY (p_budgets) ORDER BY id FOR NO KEY UPDATE;
        UPDATE budget SET used_seconds = used_seconds + extract(epoch FROM clock_timestamp() - p_since)
         WHERE id = ANY (p_budgets);
    END IF;
END $$;


CREATE FUNCTION out_of_time(p_budgets text[]) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT 1 FROM budget WHERE id = ANY (p_budgets) AND used_seconds >= seconds);
$$;


DROP FUNCTION claim_task(text, text, text, double precision);

-- As in 0001, unless a budget of time is used up. `backlog` is the task's queue if more of it waits there.
CREATE FUNCTION claim_task(p_id text, p_name text, p_owner text, p_seconds double precision)
RETURNS TABLE (fence bigint, attempt integer, tries integer, root_id text, parent_id text, agent text,
               budgets text[], backlog text, seconds_left double precision, spec bytea)
LANGUAGE sql AS $$
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
           AND (t.budgets = '{}' OR p_name = 'task.collect' OR NOT out_of_time(t.budgets))
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


-- How a task stands that could not be claimed; if its budget of time is used up, it waits from now on.
CREATE FUNCTION refused_claim(p_id text, p_name text) RETURNS TABLE (state text, result bytea)
LANGUAGE plpgsql AS $$
BEGIN
    WITH waiting AS (
        UPDATE task t SET state = 'waiting', waits_for = 'budget', published_at = NULL,
                          reason = 'its budget of seconds is used up'
         WHERE t.id = p_id AND t.name = p_name AND t.state = 'queued' AND t.budgets <> '{}'
           AND p_name <> 'task.collect' AND out_of_time(t.budgets)
        RETURNING t.id, t.root_id
    )
    INSERT INTO event (task_id, root_id, kind) SELECT w.id, w.root_id, 'waiting' FROM waiting w;
    RETURN QUERY SELECT t.state, t.result FROM task t WHERE t.id = p_id;
END $$;


-- As in 0005; the time is booked, and those who waited for what the task took have their turn as well.
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
    IF before.name <> 'task.collect' THEN
        PERFORM book_seconds(before.budgets, before.started_at);
    END IF;
    RETURN QUERY SELECT * FROM release_ready(ARRAY(
        SELECT before.queue UNION SELECT t.queue FROM task t WHERE t.id = ANY (released)
        UNION SELECT * FROM queues_behind(before.quotas)
    ));
END $$;


-- Give a running task back: to its queue, not before p_delay seconds have passed, or to the state waiting.
-- Tells whether it still was the caller's.
CREATE FUNCTION put_back(p_id text, p_fence bigint, p_state text, p_delay double precision,
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
           error = p_error, due_at = clock_timestamp() + make_interval(secs => p_delay),
           owner = NULL, lease_until = NULL, waits_for = p_waits_for, reason = p_reason
     WHERE t.id = p_id;
    PERFORM book_seconds(before.budgets, before.started_at);
    INSERT INTO event (task_id, root_id, kind)
    VALUES (p_id, before.root_id, CASE p_state WHEN 'waiting' THEN 'waiting' ELSE 'retried' END);
    RETURN true;
END $$;


-- Ask the budgets of a running task for one more model call that may use up to p_tokens. Without a row it
-- may be made, and what it may use is held back. Otherwise a row tells what stands against it, and whether
-- that may pass: because only what is held for other calls does.
CREATE FUNCTION hold_budget(p_id text, p_fence bigint, p_tokens bigint)
RETURNS TABLE (against text, passes boolean) LANGUAGE plpgsql AS $$
DECLARE
    ids text[];
BEGIN
    SELECT t.budgets INTO ids FROM task t WHERE t.id = p_id;
    PERFORM 1 FROM budget b WHERE b.id = ANY (ids) ORDER BY b.id FOR NO KEY UPDATE;
    RETURN QUERY
    WITH held AS (
        SELECT b.id, coalesce(sum(h.tokens), 0) AS tokens, count(h.task_id) AS calls
          FROM budget b
          LEFT JOIN (budget_hold h JOIN task t ON t.id = h.task_id AND t.fence = h.fence
                                              AND t.state = 'running' AND t.id <> p_id)
            ON b.id = ANY (t.budgets)
         WHERE b.id = ANY (ids) GROUP BY b.id
    )
    SELECT format('of %s %s, %s are used, %s held for calls under way, and the next may take %s',
                  l.most, l.name, l.used, l.held, l.next), l.used + l.next <= l.most AND l.used < l.most
      FROM budget b JOIN held ON held.id = b.id
     CROSS JOIN LATERAL (VALUES
          ('calls', b.calls::numeric, b.used_calls::numeric, held.calls::numeric, 1::numeric),
          ('tokens', b.tokens, b.used_tokens, held.tokens, p_tokens),
          ('seconds', b.seconds::numeric, round(b.used_seconds::numeric, 1), 0, 0)
          ) AS l (name, most, used, held, next)
     WHERE l.used + l.held + l.next > l.most OR l.used >= l.most
     ORDER BY 2, b.id LIMIT 1;
    IF NOT FOUND THEN
        INSERT INTO budget_hold AS h (task_id, fence, tokens) VALUES (p_id, p_fence, p_tokens)
        ON CONFLICT (task_id) DO UPDATE SET fence = p_fence, tokens = p_tokens;
    END IF;
END $$;


-- Keep a model's answer and book it, unless there is one at its place already.
CREATE FUNCTION record_call(p_task text, p_try integer, p_number integer, p_digest text, p_model text,
                            p_host text, p_seconds double precision, p_prompt integer,
                            p_generated integer, p_reply bytea) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    ids text[];
BEGIN
    INSERT INTO model_call (task_id, try, number, digest, model, host, seconds, prompt_tokens,
                            generated_tokens, reply)
    VALUES (p_task, p_try, p_number, p_digest, p_model, p_host, p_seconds, p_prompt, p_generated, p_reply)
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


-- Add to the limits of a budget, and let go on what waited for it. Returns what is to be published now.
CREATE FUNCTION give_budget(p_id text, p_tokens bigint, p_calls bigint, p_seconds double precision)
RETURNS SETOF message LANGUAGE plpgsql AS $$
DECLARE
    ready text[];
BEGIN
    UPDATE budget b SET tokens = b.tokens + p_tokens, calls = b.calls + p_calls,
                        seconds = b.seconds + p_seconds
     WHERE b.id = p_id;
    WITH freed AS (
        UPDATE task t SET state = 'queued', queued_at = clock_timestamp(), due_at = NULL,
                          waits_for = NULL, reason = NULL
         WHERE t.state = 'waiting' AND t.waits_for = 'budget' AND p_id = ANY (t.budgets)
        RETURNING t.id, t.root_id
    ), noted AS (
        INSERT INTO event (task_id, root_id, kind) SELECT f.id, f.root_id, 'queued' FROM freed f
    )
    SELECT array_agg(f.id) INTO ready FROM freed f;
    RETURN QUERY SELECT * FROM release_ready(ARRAY(
        SELECT DISTINCT t.queue FROM task t WHERE t.id = ANY (ready)
    ));
END $$;
