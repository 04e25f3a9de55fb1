-- Chords that grow while they run and choose when their body runs; bodies read in the statement that
-- completes them.

ALTER TABLE chord ADD COLUMN run_on text NOT NULL DEFAULT 'success'
    CHECK (run_on IN ('success', 'failure', 'always'));
ALTER TABLE chord ADD COLUMN body_id text;
CREATE INDEX group_result_created ON group_result (created_at);

-- What is needed to call the body of a ready chord: the body, and for each part, in order, its id, its
-- state and its value (all values in one piece, with their lengths; a length of 0 means none is kept).
CREATE TYPE chord_row AS (
    chord_id text,
    body     bytea,
    header   bytea,
    run_on   text,
    task_ids text[],
    statuses text[],
    lengths  integer[],
    values   bytea
);

DROP FUNCTION store_result(text, text, bytea, boolean, text, integer);
DROP FUNCTION return_part(text, text, text, integer, bytea);
DROP FUNCTION open_chord(text, integer, bytea, bytea, text[]);
DROP FUNCTION count_parts(text, integer);


-- As in 0001, with a plan that is kept between calls, which a function in plain SQL has from version 18 only.
CREATE OR REPLACE FUNCTION announce(p_id text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('result_' || (get_byte(decode(md5(p_id), 'hex'), 0) & 63), p_id);
END $$;


-- Metadata of tasks: of a graph's from its row, of all others from the results.
CREATE FUNCTION metas(p_ids text[])
RETURNS TABLE (task_id text, status text, meta bytea, error bytea, cause text, ours boolean)
LANGUAGE plpgsql STABLE ROWS 10 AS $$
DECLARE
    found integer;
BEGIN
    RETURN QUERY SELECT t.id, t.state, t.result, t.error, t.cause, true FROM task t WHERE t.id = ANY (p_ids);
    GET DIAGNOSTICS found = ROW_COUNT;
    IF found < cardinality(p_ids) THEN
        RETURN QUERY
        SELECT r.task_id, r.status, r.meta, NULL::bytea, NULL::text, false FROM result r
         WHERE r.task_id = ANY (p_ids) AND NOT EXISTS (SELECT 1 FROM task t WHERE t.id = r.task_id);
    END IF;
END $$;


-- Small values stand in the part itself, so that a join reads one range of one index.
CREATE FUNCTION chord_rows(p_ids text[]) RETURNS SETOF chord_row LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    SELECT c.id, c.body, c.header, c.run_on, joined.task_ids, joined.statuses, joined.lengths, joined.documents
      FROM chord c
     CROSS JOIN LATERAL (
        SELECT array_agg(ordered.task_id) AS task_ids, array_agg(ordered.status) AS statuses,
               array_agg(coalesce(length(ordered.document), 0)) AS lengths,
               string_agg(coalesce(ordered.document, ''), '') AS documents
          FROM (
            SELECT p.task_id, p.status,
                   CASE WHEN p.value IS NOT NULL THEN p.value
                        ELSE (SELECT r.meta FROM result r WHERE r.task_id = p.task_id) END AS document
              FROM part p WHERE p.chord_id = c.id ORDER BY p.position
          ) AS ordered
     ) AS joined
     WHERE c.id = ANY (p_ids) AND c.state = 'ready';
END $$;


-- More parts of a chord are there. True exactly once: for the caller whose part completed it.
CREATE FUNCTION count_parts(p_chord text, p_n integer) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    complete boolean;
BEGIN
    INSERT INTO chord AS c (id, done) VALUES (p_chord, p_n)
    ON CONFLICT (id) DO UPDATE
       SET done = c.done + p_n,
           state = CASE WHEN c.body IS NOT NULL AND c.done + p_n >= c.size + c.extra
                        THEN 'ready' ELSE 'open' END,
           ready_at = CASE WHEN c.body IS NOT NULL AND c.done + p_n >= c.size + c.extra
                           THEN clock_timestamp() END
     WHERE c.state = 'open'
    RETURNING state = 'ready' INTO complete;
    RETURN coalesce(complete, false);
END $$;


-- Say how many parts a chord has; the last of them may be back already.
CREATE FUNCTION set_chord_size(p_chord text, p_size integer) RETURNS SETOF chord_row
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chord AS c (id, size) VALUES (p_chord, p_size)
    ON CONFLICT (id) DO UPDATE SET size = p_size WHERE c.state = 'open';
    IF count_parts(p_chord, 0) THEN
        RETURN QUERY SELECT * FROM chord_rows(ARRAY[p_chord]);
    END IF;
END $$;


-- A task came to an end: count it in the chord that its message names and in every open chord that
-- expects it. Returns the chords that became ready, in one order for everybody, so that two tasks with
-- common chords cannot wait for each other.
CREATE FUNCTION return_part(p_id text, p_status text, p_chord text, p_position integer, p_value bytea)
RETURNS SETOF chord_row LANGUAGE plpgsql AS $$
DECLARE
    expecting text;
    complete  text[] := '{}';
BEGIN
    IF p_chord IS NOT NULL THEN
        INSERT INTO part (chord_id, task_id, position, status, value)
        SELECT p_chord, p_id, p_position, p_status, p_value
         WHERE NOT EXISTS (SELECT 1 FROM chord WHERE id = p_chord AND state <> 'open')
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            IF count_parts(p_chord, 1) THEN
                complete := complete || p_chord;
            END IF;
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
            complete := complete || expecting;
        END IF;
    END LOOP;
    IF complete <> '{}' THEN
        RETURN QUERY SELECT * FROM chord_rows(complete);
    END IF;
END $$;


-- Keep a result unless the task has already succeeded, count it, wake those who wait.
CREATE FUNCTION store_result(p_id text, p_status text, p_meta bytea, p_ready boolean, p_chord text,
                             p_position integer, p_value bytea, p_announce boolean)
RETURNS SETOF chord_row LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('open_chord'));
    INSERT INTO result AS r (task_id, status, meta, date_done)
    VALUES (p_id, p_status, p_meta, CASE WHEN p_ready THEN clock_timestamp() END)
    ON CONFLICT (task_id) DO UPDATE
       SET status = excluded.status, meta = excluded.meta, date_done = excluded.date_done
     WHERE r.status <> 'SUCCESS';
    IF p_announce THEN
        PERFORM announce(p_id);
    END IF;
    IF p_ready AND (p_chord IS NOT NULL
                    OR EXISTS (SELECT 1 FROM part WHERE task_id = p_id AND status IS NULL)) THEN
        RETURN QUERY SELECT * FROM return_part(p_id, p_status, p_chord, p_position, p_value);
    END IF;
END $$;


-- Expect tasks as parts of an open chord, wherever they are: not sent yet, running, or finished.
-- Tasks that it expects already are not counted again. Returns how many tasks have ended already.
CREATE FUNCTION expect_parts(p_chord text, p_parts text[]) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    ended integer;
BEGIN
    INSERT INTO part (chord_id, task_id, position)
    SELECT p_chord, w.id, w.rank + (SELECT count(*) FROM part WHERE chord_id = p_chord)
      FROM unnest(p_parts) WITH ORDINALITY AS w (id, rank)
    ON CONFLICT DO NOTHING;
    WITH counted AS (
        UPDATE part SET status = r.status FROM result r
         WHERE part.chord_id = p_chord AND part.status IS NULL AND part.task_id = ANY (p_parts)
           AND r.task_id = part.task_id AND r.date_done IS NOT NULL
        RETURNING 1
    )
    SELECT count(*) INTO ended FROM counted;
    RETURN ended;
END $$;


-- Open a chord over tasks that may be anywhere. Without a size it stays open until it is closed.
-- A chord that is there already is left as it is.
CREATE FUNCTION open_chord(p_id text, p_size integer, p_body bytea, p_run_on text, p_parts text[])
RETURNS SETOF chord_row LANGUAGE plpgsql AS $$
BEGIN
    -- Results that are being stored right now would neither see our parts nor be seen by us.
    PERFORM pg_advisory_xact_lock(hashtext('open_chord'));
    INSERT INTO chord (id, size, body, body_id, run_on) VALUES (p_id, p_size, p_body, p_id, p_run_on)
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        IF count_parts(p_id, expect_parts(p_id, p_parts)) THEN
            RETURN QUERY SELECT * FROM chord_rows(ARRAY[p_id]);
        END IF;
    END IF;
END $$;


-- Add parts to a chord that has not been closed. No row: there is no such chord, or it is closed.
CREATE FUNCTION extend_chord(p_id text, p_parts text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('open_chord'));
    PERFORM 1 FROM chord WHERE id = p_id AND size IS NULL FOR NO KEY UPDATE;
    IF FOUND THEN
        PERFORM count_parts(p_id, expect_parts(p_id, p_parts));
        RETURN NEXT p_id;
    END IF;
END $$;


-- Close an open chord: the parts that it has are all there will be.
CREATE FUNCTION close_chord(p_id text) RETURNS SETOF chord_row LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM chord WHERE id = p_id AND size IS NULL FOR NO KEY UPDATE;
    IF FOUND THEN
        RETURN QUERY SELECT * FROM set_chord_size(p_id, (SELECT count(*)::integer FROM part
                                                          WHERE chord_id = p_id));
    END IF;
END $$;


-- Take chords whose bodies have been ready for some seconds and were not marked as sent; each caller
-- gets others. Those whose body has its result already were sent: they are only marked.
CREATE FUNCTION overdue_chords(p_grace double precision) RETURNS SETOF chord_row LANGUAGE plpgsql AS $$
DECLARE
    taken text[];
BEGIN
    UPDATE chord c SET state = 'done' FROM result r
     WHERE c.state = 'ready' AND c.ready_at < clock_timestamp() - make_interval(secs => p_grace)
       AND r.task_id = c.body_id AND r.date_done IS NOT NULL;
    WITH due AS (
        SELECT id FROM chord
         WHERE state = 'ready' AND ready_at < clock_timestamp() - make_interval(secs => p_grace)
         ORDER BY ready_at LIMIT 100 FOR UPDATE SKIP LOCKED
    ), mine AS (
        UPDATE chord SET ready_at = clock_timestamp() FROM due WHERE chord.id = due.id RETURNING chord.id
    )
    SELECT array_agg(id) INTO taken FROM mine;
    IF taken IS NOT NULL THEN
        RETURN QUERY SELECT * FROM chord_rows(taken);
    END IF;
END $$;


-- Note that bodies have been sent. Losing this note does no harm, so nobody waits for the disk.
CREATE FUNCTION mark_chords_done(p_ids text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE chord SET state = 'done' WHERE id = ANY (p_ids);
END $$;


-- Delete what is older than its seconds; NULL keeps it for ever. Rows of graphs are never touched.
CREATE FUNCTION clean_up(p_results double precision, p_failures double precision, p_chords double precision)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM result WHERE status <> 'FAILURE' AND date_done < clock_timestamp() - make_interval(secs => p_results);
    DELETE FROM result WHERE status = 'FAILURE' AND date_done < clock_timestamp() - make_interval(secs => p_failures);
    DELETE FROM group_result WHERE created_at < clock_timestamp() - make_interval(secs => p_results);
    WITH old AS (
        DELETE FROM chord WHERE created_at < clock_timestamp() - make_interval(secs => p_chords) RETURNING id
    )
    DELETE FROM part USING old WHERE part.chord_id = old.id;
END $$;
