-- Versions and delete markers that are gone; what was written is in `versions`. Both draw their seq
-- from the counter of `versions`, so that together they are all changes in the order of commit.
CREATE TABLE removals (
    seq        INTEGER PRIMARY KEY,
    bucket     TEXT NOT NULL,
    key        BLOB NOT NULL,
    version    TEXT NOT NULL,
    content_id TEXT NOT NULL,
    -- It was the current one.
    latest     INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    etag       TEXT NOT NULL,
    removed_ms INTEGER NOT NULL
) STRICT;

-- The last removal that is forgotten: one row.
CREATE TABLE removals_forgotten (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seq INTEGER NOT NULL
) STRICT;
INSERT INTO removals_forgotten VALUES (1, 0);
