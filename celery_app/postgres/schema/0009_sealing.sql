-- Payloads may be sealed for the row and the column that they stand in, so no statement copies one from a
-- place to another: the program opens it and seals it anew.

-- Why a trigger could not start a run may tell what it was given.
ALTER TABLE trigger ALTER COLUMN error TYPE bytea USING convert_to(to_json(error)::text, 'UTF8');

DROP FUNCTION end_unanswered();
DROP FUNCTION end_expired(bytea);


-- Stop work that was split up and has not ended in its time: everything below it, then itself.
CREATE FUNCTION end_expired(p_id text, p_error bytea) RETURNS SETOF message LANGUAGE plpgsql AS $$
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
    UPDATE task t SET state = 'running', fence = nextval('fence')
     WHERE t.id = p_id AND t.state IN ('expanded', 'queued') RETURNING t.fence INTO token;
    IF FOUND THEN
        RETURN QUERY SELECT * FROM finish_task(p_id, token, 'failed', NULL, p_error, 0, 0, NULL);
    END IF;
END $$;
