-- Requests of the HTTP API that carry a key: asked twice, they are done once and answered alike.
--
-- Invariant: a row without a status is being answered. It is somebody else's turn when that has taken longer
-- than any request may.

CREATE TABLE request_key (
    subject  text NOT NULL,                                 -- who asked, as the policy calls them
    key      text NOT NULL,                                 -- as they chose it
    digest   text NOT NULL,                                 -- of method, path and body
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    status   integer,                                       -- of the response, once there is one
    body     bytea,                                         -- of the response, sealed
    PRIMARY KEY (subject, key)
);
CREATE INDEX request_key_age ON request_key (begun_at);

-- Lists of tasks and runs are read in pages, the newest first.
CREATE INDEX task_handed_in ON task (created_at DESC, id DESC) WHERE parent_id IS NULL;
