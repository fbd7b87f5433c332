-- Times are milliseconds since the Unix epoch. States and lanes are numbered in rows.rs.

CREATE TABLE events (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    source       TEXT NOT NULL,
    kind         TEXT NOT NULL,
    subject      TEXT,
    time_ms      INTEGER NOT NULL,
    content_type TEXT,
    accepted_ms  INTEGER NOT NULL,
    -- How many invocations, each caused by an event of the one before, led to it.
    depth        INTEGER NOT NULL DEFAULT 0,
    -- How many invocations in the ledger are of this event.
    invocations  INTEGER NOT NULL DEFAULT 0,
    bytes        INTEGER NOT NULL,
    data         BLOB NOT NULL
) STRICT;
CREATE INDEX events_unused ON events (accepted_ms) WHERE invocations = 0;

CREATE TABLE invocations (
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT NOT NULL UNIQUE,
    function         TEXT NOT NULL,
    event_seq        INTEGER NOT NULL,
    -- The one that started this one, and the top of the tree; NULL for a root.
    parent_seq       INTEGER,
    root_seq         INTEGER,
    child_key        TEXT,
    -- That of its event.
    depth            INTEGER NOT NULL DEFAULT 0,
    -- How many children it ever started, and effects it ever had.
    children         INTEGER NOT NULL DEFAULT 0,
    effects          INTEGER NOT NULL DEFAULT 0,
    -- The version of the function to run, where somebody chose one.
    version          TEXT,
    concurrency_key  TEXT,
    policy           INTEGER,
    -- The older invocation that this one waits for (in order).
    blocked_by       INTEGER,
    lane             INTEGER NOT NULL,
    -- Within the lane: 0 before 1.
    rank             INTEGER NOT NULL,
    state            INTEGER NOT NULL,
    -- Queued and delayed: not before. NULL: ready.
    due_ms           INTEGER,
    token            INTEGER NOT NULL DEFAULT 0,
    lease_until_ms   INTEGER,
    attempt          INTEGER NOT NULL DEFAULT 0,
    failures         INTEGER NOT NULL DEFAULT 0,
    -- Attempts in a row whose end nobody saw.
    lost             INTEGER NOT NULL DEFAULT 0,
    -- Parked: how many awaited children have not ended.
    waiting          INTEGER NOT NULL DEFAULT 0,
    -- The parent is parked on this one.
    awaited          INTEGER NOT NULL DEFAULT 0,
    accepted_ms      INTEGER NOT NULL,
    -- When it was last replayed.
    resumed_ms       INTEGER,
    started_ms       INTEGER,
    ended_ms         INTEGER,
    reason           TEXT,
    cpu_ms           INTEGER NOT NULL DEFAULT 0,
    bytes_in         INTEGER NOT NULL DEFAULT 0,
    bytes_out        INTEGER NOT NULL DEFAULT 0,
    progress         TEXT,
    result           BLOB
) STRICT;
-- What the queue looks at holds only what has not ended, so that its cost does not grow with history.
CREATE INDEX invocations_ready ON invocations (lane, rank, root_seq, seq)
    WHERE state = 0 AND due_ms IS NULL AND blocked_by IS NULL;
CREATE INDEX invocations_delayed ON invocations (lane, due_ms)
    WHERE state = 0 AND due_ms IS NOT NULL;
CREATE INDEX invocations_leased ON invocations (lane, lease_until_ms) WHERE state = 1;
CREATE INDEX invocations_blocked ON invocations (blocked_by) WHERE blocked_by IS NOT NULL;
CREATE INDEX invocations_concurrent ON invocations (function, concurrency_key, seq)
    WHERE concurrency_key IS NOT NULL AND state < 3;
CREATE INDEX invocations_unended_children ON invocations (parent_seq)
    WHERE parent_seq IS NOT NULL AND state < 3;
-- One child a key.
CREATE UNIQUE INDEX invocations_children ON invocations (parent_seq, child_key)
    WHERE parent_seq IS NOT NULL;
CREATE INDEX invocations_tree ON invocations (root_seq) WHERE root_seq IS NOT NULL;
CREATE INDEX invocations_ended_roots ON invocations (ended_ms)
    WHERE parent_seq IS NULL AND state >= 3;
-- Lists. Succeeded ones are the many, and found from the newest without an index.
CREATE INDEX invocations_roots ON invocations (function, seq) WHERE parent_seq IS NULL;
CREATE INDEX invocations_notable ON invocations (state, seq) WHERE state <> 3;

CREATE TABLE attempts (
    invocation_seq INTEGER NOT NULL,
    number         INTEGER NOT NULL,
    started_ms     INTEGER NOT NULL,
    ended_ms       INTEGER,
    outcome        INTEGER,
    reason         TEXT,
    -- The version of the function that it ran.
    version        TEXT,
    cpu_ms         INTEGER NOT NULL DEFAULT 0,
    bytes_in       INTEGER NOT NULL DEFAULT 0,
    bytes_out      INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (invocation_seq, number)
) STRICT, WITHOUT ROWID;

-- One row an attempt that wrote something: its lines as JSON.
CREATE TABLE logs (
    seq            INTEGER PRIMARY KEY,
    invocation_seq INTEGER NOT NULL,
    number         INTEGER NOT NULL,
    lines          TEXT NOT NULL,
    UNIQUE (invocation_seq, number)
) STRICT;

-- What an invocation remembered.
CREATE TABLE memories (
    seq            INTEGER PRIMARY KEY,
    invocation_seq INTEGER NOT NULL,
    name           TEXT NOT NULL,
    value          BLOB NOT NULL,
    UNIQUE (invocation_seq, name)
) STRICT;

-- What an invocation did and must not do again, with what that answered (JSON).
CREATE TABLE effects (
    seq            INTEGER PRIMARY KEY,
    invocation_seq INTEGER NOT NULL,
    key            BLOB NOT NULL,
    call           TEXT NOT NULL,
    subject        TEXT NOT NULL,
    attempt        INTEGER NOT NULL,
    time_ms        INTEGER NOT NULL,
    answer         TEXT NOT NULL,
    UNIQUE (invocation_seq, key)
) STRICT;

-- What has not ended: one row.
CREATE TABLE backlog (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    invocations INTEGER NOT NULL,
    bytes       INTEGER NOT NULL
) STRICT;
INSERT INTO backlog VALUES (1, 0, 0);

-- The last slot of time that each schedule fired.
CREATE TABLE schedules (
    function TEXT NOT NULL,
    name     TEXT NOT NULL,
    last_ms  INTEGER NOT NULL,
    PRIMARY KEY (function, name)
) STRICT, WITHOUT ROWID;
