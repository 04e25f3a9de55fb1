-- Documents: what is written about projects, in versions, and the sections they were put together from.

CREATE TABLE document (
    id         text PRIMARY KEY,
    project_id text NOT NULL REFERENCES project ON DELETE CASCADE,
    type       text NOT NULL,
    version    integer,                                  -- the one that holds now; NULL: none is written yet
    latest     integer NOT NULL DEFAULT 0,               -- the highest number that was given
    changed_by text,                                     -- who made that version hold, where a person did
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (project_id, type)
);

-- A content has one version, however often it comes up.
CREATE TABLE document_version (
    document_id text NOT NULL REFERENCES document ON DELETE CASCADE,
    version     integer NOT NULL,
    digest      bytea NOT NULL,                          -- the sha256 of its content
    content     bytea NOT NULL,
    metadata    bytea NOT NULL,
    run_id      text,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (document_id, version)
);

-- Sections as they were written, each once for its key.
CREATE TABLE document_section (
    id          text PRIMARY KEY,                        -- the task that wrote it
    document_id text NOT NULL REFERENCES document ON DELETE CASCADE,
    key         bytea NOT NULL,
    body        bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON document_section (document_id, created_at);
