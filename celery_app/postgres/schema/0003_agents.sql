-- What models said and planned. Invariant: an answer is recorded before it is used, and never changed.

CREATE TABLE model_call (
    task_id          text NOT NULL,
    try              integer NOT NULL,                 -- a task tried anew after an error asks anew
    number           integer NOT NULL,                 -- order within the try
    digest           text NOT NULL,                    -- of the request: an answer is replayed only to the same question
    model            text NOT NULL,
    host             text NOT NULL,
    at               timestamptz NOT NULL DEFAULT clock_timestamp(),
    seconds          double precision NOT NULL,
    prompt_tokens    integer NOT NULL,
    generated_tokens integer NOT NULL,
    reply            bytea NOT NULL,
    PRIMARY KEY (task_id, try, number)
);

CREATE TABLE plan (
    task_id    text NOT NULL,
    version    integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    source     text NOT NULL,
    tries      integer NOT NULL,
    body       bytea NOT NULL,
    PRIMARY KEY (task_id, version)
);
