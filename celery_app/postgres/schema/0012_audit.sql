-- Journals that cannot be rewritten unseen: closed stretches of them are chained by their hashes.
--
-- Invariants
--   * Rows of a journal, stretches and checkpoints are only ever added. Retention alone deletes rows,
--     in a transaction that says so (ai_agent.cut), and leaves a checkpoint.
--   * A stretch has all rows of its journal from the transaction from_xact up to, but without, to_xact;
--     it begins where the one before it ends. It is made when no such transaction can still commit.
--   * Nothing of this is written in a transaction in which a task moves.

CREATE FUNCTION only_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('ai_agent.cut', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'rows of % are only ever added: `ai-agent audit prune` cuts what is old', TG_TABLE_NAME
          USING ERRCODE = 'AG002';
END $$;

-- Digests and signatures are no secrets; none of these columns holds a payload.
CREATE TABLE stretch (
    journal   text NOT NULL,
    number    bigint NOT NULL,                          -- 1, 2, 3 ...
    from_xact xid8 NOT NULL,
    to_xact   xid8 NOT NULL,
    first_id  bigint NOT NULL,
    last_id   bigint NOT NULL,
    row_count bigint NOT NULL,
    marks     bytea NOT NULL,                           -- of each row's sha256 the first 8 bytes, in order
    previous  bytea NOT NULL,                           -- the digest of the stretch before it
    digest    bytea NOT NULL,
    sealed_at timestamptz NOT NULL,
    signature bytea,                                    -- NULL: there was no key
    PRIMARY KEY (journal, number)
);

-- What retention has cut so far.
CREATE TABLE checkpoint (
    journal   text NOT NULL,
    number    bigint NOT NULL,                          -- the last stretch that was cut
    to_xact   xid8 NOT NULL,                            -- where that ended
    digest    bytea NOT NULL,                           -- and its digest
    rows_cut  bigint NOT NULL,                          -- from the beginning
    at        timestamptz NOT NULL,
    signature bytea,
    PRIMARY KEY (journal, number)
);

-- The newest stretch of each journal, so that it cannot be taken away together with its rows.
CREATE TABLE audit_head (
    journal   text PRIMARY KEY,
    number    bigint NOT NULL,
    to_xact   xid8 NOT NULL,
    digest    bytea NOT NULL,
    cut       bigint NOT NULL,                          -- the newest checkpoint; 0: nothing was cut
    at        timestamptz NOT NULL,
    signature bytea
);

-- Stretches are read in the order of transactions.
CREATE INDEX event_order ON event (xact, id);
CREATE INDEX access_log_order ON access_log (xact, id);

CREATE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON event
   FOR EACH STATEMENT EXECUTE FUNCTION only_added();
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON access_log
   FOR EACH STATEMENT EXECUTE FUNCTION only_added();
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON stretch
   FOR EACH STATEMENT EXECUTE FUNCTION only_added();
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE OR TRUNCATE ON checkpoint
   FOR EACH STATEMENT EXECUTE FUNCTION only_added();
