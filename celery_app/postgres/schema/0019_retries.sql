-- Celery sends the next try before it stores that this one is tried again: that word may come after the end.

-- As in 0004; that a task is tried again is not kept once it has failed for good or was revoked.
CREATE OR REPLACE FUNCTION store_result(p_id text, p_status text, p_meta bytea, p_ready boolean, p_chord text,
                                        p_position integer, p_value bytea, p_announce boolean)
RETURNS SETOF chord_row LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('open_chord'));
    INSERT INTO result AS r (task_id, status, meta, date_done)
    VALUES (p_id, p_status, p_meta, CASE WHEN p_ready THEN clock_timestamp() END)
    ON CONFLICT (task_id) DO UPDATE
       SET status = excluded.status, meta = excluded.meta, date_done = excluded.date_done
     WHERE r.status <> 'SUCCESS'
       AND NOT (excluded.status = 'RETRY' AND r.status IN ('FAILURE', 'REVOKED'));
    IF p_announce THEN
        PERFORM announce(p_id);
    END IF;
    IF p_ready AND (p_chord IS NOT NULL
                    OR EXISTS (SELECT 1 FROM part WHERE task_id = p_id AND status IS NULL)) THEN
        RETURN QUERY SELECT * FROM return_part(p_id, p_status, p_chord, p_position, p_value);
    END IF;
END $$;
