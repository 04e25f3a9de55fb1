-- What agents did with tools. Invariant: what came of a call is recorded before the model hears of it,
-- and never changed.

CREATE TABLE tool_call (
    task_id text NOT NULL,
    try     integer NOT NULL,                          -- a task tried anew after an error calls anew
    number  integer NOT NULL,                          -- order within the try
    tool    text NOT NULL,
    digest  text NOT NULL,                             -- of tool and arguments: replayed only to the same call
    refused boolean NOT NULL,                          -- the task may not make this call
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    payload bytea NOT NULL,                            -- arguments and result, or why it was refused
    PRIMARY KEY (task_id, try, number)
);
