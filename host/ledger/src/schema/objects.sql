-- Buckets, objects and multipart uploads. Keys are blobs so that they compare byte by byte.

CREATE TABLE buckets (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    -- 0 off, 1 enabled, 2 suspended
    versioning INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL
) STRICT;

-- Versions and delete markers; the highest seq of a key is its newest.
CREATE TABLE versions (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket      INTEGER NOT NULL,
    key         BLOB NOT NULL,
    -- 'null' where no versions were kept when it was written.
    version     TEXT NOT NULL,
    content_id  TEXT NOT NULL,
    latest      INTEGER NOT NULL,
    marker      INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    etag        TEXT NOT NULL,
    modified_ms INTEGER NOT NULL,
    part_count  INTEGER NOT NULL,
    -- Headers, metadata and checksums as JSON.
    attributes  TEXT NOT NULL,
    -- As JSON; NULL: none.
    tags        TEXT,
    -- Parts of a multipart object as JSON.
    parts       TEXT,
    -- 33 bytes a piece, see objects/rows.rs. Last, because it may be large and is seldom read.
    pieces      BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX versions_named ON versions (bucket, key, version);
CREATE INDEX versions_by_age ON versions (bucket, key, seq DESC);
CREATE UNIQUE INDEX versions_live ON versions (bucket, key) WHERE latest = 1 AND marker = 0;

-- Bytes that were written once. A row without references is garbage to be collected.
CREATE TABLE blobs (
    id   BLOB PRIMARY KEY,
    refs INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX blobs_unused ON blobs (id) WHERE refs = 0;

-- Bytes of the small ones; the others are files.
CREATE TABLE blob_data (
    seq  INTEGER PRIMARY KEY,
    id   BLOB NOT NULL UNIQUE,
    data BLOB NOT NULL
) STRICT;

CREATE TABLE uploads (
    id         TEXT PRIMARY KEY,
    bucket     INTEGER NOT NULL,
    key        BLOB NOT NULL,
    started_ms INTEGER NOT NULL,
    principal  TEXT NOT NULL,
    -- Headers and metadata as JSON.
    attributes TEXT NOT NULL,
    tags       TEXT,
    -- Algorithm and kind as JSON; NULL: none.
    checksum   TEXT
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX uploads_by_key ON uploads (bucket, key, id);

CREATE TABLE parts (
    upload      TEXT NOT NULL,
    number      INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    etag        TEXT NOT NULL,
    modified_ms INTEGER NOT NULL,
    checksums   TEXT NOT NULL,
    pieces      BLOB NOT NULL,
    PRIMARY KEY (upload, number)
) STRICT, WITHOUT ROWID;
