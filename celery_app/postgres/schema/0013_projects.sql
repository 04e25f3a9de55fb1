-- Projects: what is to be reached, how it is planned, how it stands, and what came of it.

CREATE TABLE project (
    id         text PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    revision   integer NOT NULL DEFAULT 1,               -- rises with each change; a late writer is refused
    spec       bytea NOT NULL,
    plan       bytea,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A goal stands under the digest of what its plan was made of: what is planned anew is open again.
CREATE TABLE goal (
    project_id  text NOT NULL REFERENCES project ON DELETE CASCADE,
    name        text NOT NULL,
    digest      text NOT NULL,
    run_id      text,                                    -- the run that works on it, or did
    state       text NOT NULL DEFAULT 'open',            -- open | running | to-accept | reached | failed
    checks      bytea,                                   -- what its acceptance checks said of its result
    accepted_by text,
    reached_at  timestamptz,
    PRIMARY KEY (project_id, name)
);
CREATE INDEX ON goal (run_id);

-- What work brought forth. Contents are kept once for as many artifacts as have them.
CREATE TABLE content (
    id         text PRIMARY KEY,                         -- a digest: by a key where there are keys
    size       bigint NOT NULL,
    body       bytea,                                    -- NULL: it is a file in the artifacts' folder
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE artifact (
    id         text PRIMARY KEY,
    namespace  text NOT NULL,
    name       text NOT NULL,
    type       text NOT NULL,
    run_id     text,
    task_id    text,
    content_id text NOT NULL REFERENCES content,
    origin     bytea NOT NULL,                           -- the sha256 of its content and of its inputs
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON artifact (namespace, name, created_at DESC);
CREATE INDEX ON artifact (task_id);
CREATE INDEX ON artifact (content_id);
