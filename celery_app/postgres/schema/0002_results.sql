-- Results of Celery tasks that are not rows of a graph, and the chords they belong to.
--
-- Invariants
--   * The first SUCCESS of a task id is kept for good.
--   * A part counts once for its chord, however often it is delivered.
--   * Storing a result, counting its part and waking those who wait are one statement.
--   * A chord that is ready and not done is the outbox for its body.

CREATE TABLE result (
    task_id   text PRIMARY KEY,
    status    text NOT NULL,
    meta      bytea NOT NULL,
    date_done timestamptz
);
CREATE INDEX result_done ON result (date_done) WHERE date_done IS NOT NULL;

CREATE TABLE chord (
    id         text PRIMARY KEY,
    size       integer,                                -- NULL until the last part has been sent
    extra      integer NOT NULL DEFAULT 0,
    done       integer NOT NULL DEFAULT 0,
    state      text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'ready', 'done')),
    body       bytea,
    header     bytea,                                  -- how the results are nested
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ready_at   timestamptz
) WITH (fillfactor = 50);
CREATE INDEX chord_ready ON chord (ready_at) WHERE state = 'ready';
CREATE INDEX chord_created ON chord (created_at);

-- A part may be announced before it exists (open chords: status NULL) or appear when it returns.
CREATE TABLE part (
    chord_id text NOT NULL,
    task_id  text NOT NULL,
    position integer NOT NULL,
    status   text,
    value    bytea,                                    -- only where the task's own result is not stored
    PRIMARY KEY (chord_id, task_id)
);
CREATE INDEX part_task ON part (task_id) WHERE status IS NULL;

CREATE TABLE group_result (
    group_id   text PRIMARY KEY,
    meta       bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);


-- One more part of a chord is there. True exactly once: for the caller whose part completed it.
CREATE FUNCTION count_parts(p_chord text, p_n integer) RETURNS boolean LANGUAGE sql AS $$
    INSERT INTO chord AS c (id, done) VALUES (p_chord, p_n)
    ON CONFLICT (id) DO UPDATE
       SET done = c.done + p_n,
           state = CASE WHEN c.state = 'open' AND c.body IS NOT NULL AND c.done + p_n >= c.size + c.extra
                        THEN 'ready' ELSE c.state END,
           ready_at = CASE WHEN c.state = 'open' AND c.done + p_n >= c.size + c.extra
                           THEN clock_timestamp() ELSE c.ready_at END
    RETURNING state = 'ready' AND done = size + extra;
$$;


-- A task came to an end: count it in the chord that its message names and in every open chord that
-- expects it. Returns the chords that became ready.
CREATE FUNCTION return_part(p_id text, p_status text, p_chord text, p_position integer, p_value bytea)
RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    expecting text;
    fresh     boolean := false;
BEGIN
    IF p_chord IS NOT NULL THEN
        INSERT INTO part (chord_id, task_id, position, status, value)
        SELECT p_chord, p_id, p_position, p_status, p_value
         WHERE NOT EXISTS (SELECT 1 FROM chord WHERE id = p_chord AND state <> 'open')
        ON CONFLICT DO NOTHING
        RETURNING true INTO fresh;
        IF fresh AND count_parts(p_chord, 1) THEN
            RETURN NEXT p_chord;
        END IF;
    END IF;
    FOR expecting IN
        WITH met AS (
            UPDATE part SET status = p_status, value = p_value
             WHERE task_id = p_id AND status IS NULL RETURNING chord_id
        )
        SELECT chord_id FROM met ORDER BY chord_id
    LOOP
        IF count_parts(expecting, 1) THEN
            RETURN NEXT expecting;
        END IF;
    END LOOP;
END $$;


-- Keep a result unless the task has already succeeded, count it, wake those who wait.
CREATE FUNCTION store_result(p_id text, p_status text, p_meta bytea, p_ready boolean, p_chord text,
                             p_position integer) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('open_chord'));
    INSERT INTO result AS r (task_id, status, meta, date_done)
    VALUES (p_id, p_status, p_meta, CASE WHEN p_ready THEN clock_timestamp() END)
    ON CONFLICT (task_id) DO UPDATE
       SET status = excluded.status, meta = excluded.meta, date_done = excluded.date_done
     WHERE r.status <> 'SUCCESS';
    PERFORM announce(p_id);
    IF p_ready THEN
        RETURN QUERY SELECT * FROM return_part(p_id, p_status, p_chord, p_position, NULL);
    END IF;
END $$;


-- Open a chord over tasks that may be anywhere: not sent yet, running, or finished. Returns its id if
-- all of them have ended already.
CREATE FUNCTION open_chord(p_id text, p_size integer, p_body bytea, p_header bytea, p_parts text[])
RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    ended integer;
BEGIN
    -- Results that are being stored right now would neither see our parts nor be seen by us.
    PERFORM pg_advisory_xact_lock(hashtext('open_chord'));
    INSERT INTO chord (id, size, body, header) VALUES (p_id, p_size, p_body, p_header)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO part (chord_id, task_id, position)
    SELECT p_id, w.id, w.rank FROM unnest(p_parts) WITH ORDINALITY AS w (id, rank);
    WITH over AS (
        SELECT r.task_id, r.status FROM result r WHERE r.task_id = ANY (p_parts) AND r.date_done IS NOT NULL
    ), counted AS (
        UPDATE part SET status = over.status FROM over
         WHERE part.chord_id = p_id AND part.task_id = over.task_id RETURNING 1
    )
    SELECT count(*) INTO ended FROM counted;
    IF ended > 0 AND count_parts(p_id, ended) THEN
        RETURN NEXT p_id;
    END IF;
END $$;
