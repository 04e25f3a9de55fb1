-- How far the journal of events has been read, for each purpose (celery_app/orchestrator/journal_reader.py).
--
-- Invariant: what stands before (xact, id) in the order of the journal was taken; what stands behind it was
-- not, or is taken once more. None of these columns holds a payload.

CREATE TABLE journal_place (
    purpose text PRIMARY KEY,
    xact    xid8 NOT NULL,
    id      bigint NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
