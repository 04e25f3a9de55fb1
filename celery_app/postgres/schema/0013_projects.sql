-- Projects: what is to be reached, how it is planned, how it stands, and what came of it.

CREATE TABLE project (
    id         text PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    revision   integer NOT NULL DEFAULT 1,               -- rises with each change; a late writer is refused
    spec       bytea NOT NULL,
    plan       bytea,
    alerts     jsonb NOT NULL DEFAULT '{}',              -- from where on somebody is told; in clear
    due        timestamptz,                              -- the first deadline of it or of a goal
    risk       text,                                     -- what was last told of its deadline
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE INDEX ON project (due);

-- A goal stands under the digest of what its plan was made of: what is planned anew is open again.
CREATE TABLE goal (
    project_id  text NOT NULL REFERENCES project ON DELETE CASCADE,
    name        text NOT NULL,
    digest      text NOT NULL,
    run_id      text,                                    -- the run that works on it, or did
    task_id     text,                                    -- the last task of the goal in that run
    begun_at    timestamptz,
    state       text NOT NULL DEFAULT 'open',            -- open | running | to-accept | reached | failed
    checks      bytea,                                   -- what its acceptance checks said of its result
    accepted_by text,
    reached_at  timestamptz,
    risk        text,                                    -- what was last told of its deadline
    PRIMARY KEY (project_id, name)
);

-- Every run that worked, or works, on a project.
CREATE TABLE project_run (
    project_id text NOT NULL REFERENCES project ON DELETE CASCADE,
    run_id     text NOT NULL,
    begun_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (project_id, run_id)
);

-- What work brought forth. A content is kept once for as many artifacts as have it, enciphered with a
-- key of its own: to change the key of everything, that one is sealed anew, and no file is touched.
CREATE TABLE content (
    id         text PRIMARY KEY,                         -- a digest: by a key where there are keys
    size       bigint NOT NULL,
    secret     bytea NOT NULL,                           -- its key
    body       bytea,
    file       text,                                     -- or its name in the artifacts' folder
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((body IS NULL) <> (file IS NULL))
);
CREATE INDEX ON content (file);
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
CREATE INDEX ON artifact (content_id);
