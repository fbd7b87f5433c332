-- Backups: what waits for a snapshot, and what was done. Times are milliseconds since the Unix epoch.

-- Changes that wait, at most one a key in each repository: the latest.
CREATE TABLE backup_pending (
    -- In the order in which they were handed over; a later change of the same key takes a new one.
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    repository TEXT NOT NULL,
    bucket     TEXT NOT NULL,
    key        BLOB NOT NULL,
    -- The version to keep; NULL: the key is to be empty.
    version    TEXT,
    content_id TEXT,
    -- Where in the feed of changes it belongs: of two changes of a key the later one counts.
    place      INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    -- Since when the key is not as in the newest snapshot.
    queued_ms  INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX backup_pending_key ON backup_pending (repository, bucket, key);
CREATE INDEX backup_pending_order ON backup_pending (repository, seq);
CREATE INDEX backup_pending_age ON backup_pending (repository, queued_ms);

-- What was done with a repository, and whether it succeeded.
CREATE TABLE backup_runs (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    repository TEXT NOT NULL,
    -- snapshot, verify, drill, prune, overdue
    kind       TEXT NOT NULL,
    started_ms INTEGER NOT NULL,
    ended_ms   INTEGER NOT NULL,
    succeeded  INTEGER NOT NULL,
    -- What it found, as JSON.
    details    TEXT NOT NULL
) STRICT;
CREATE INDEX backup_runs_kind ON backup_runs (repository, kind, seq);

-- Which repository it is that has a name: places and times below are about that one.
CREATE TABLE backup_repositories (
    repository TEXT PRIMARY KEY,
    id         TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- How far the feed of changes is gone through for a bucket of a repository.
CREATE TABLE backup_following (
    repository TEXT NOT NULL,
    bucket     TEXT NOT NULL,
    place      INTEGER NOT NULL,
    -- The end of the feed when this began.
    since      INTEGER NOT NULL,
    PRIMARY KEY (repository, bucket)
) STRICT, WITHOUT ROWID;

-- Up to when all changes of a bucket are in a snapshot.
CREATE TABLE backup_covered (
    repository TEXT NOT NULL,
    bucket     TEXT NOT NULL,
    time_ms    INTEGER NOT NULL,
    PRIMARY KEY (repository, bucket)
) STRICT, WITHOUT ROWID;
