-- What was deployed, who may change it, and who did. Times are milliseconds since the Unix epoch.

-- One component with one manifest, for ever the same. The component's bytes are a file.
CREATE TABLE function_versions (
    -- In the order in which they were deployed.
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    function    TEXT NOT NULL,
    -- SHA-256 over component and manifest.
    id          TEXT NOT NULL,
    -- SHA-256 of the component, and its size.
    component   TEXT NOT NULL,
    bytes       INTEGER NOT NULL,
    manifest    TEXT NOT NULL,
    -- What the component imports, as JSON.
    imports     TEXT NOT NULL,
    -- Id of the key that signed it; NULL: nobody did.
    signer      TEXT,
    deployed_by TEXT NOT NULL,
    deployed_ms INTEGER NOT NULL,
    UNIQUE (function, id)
) STRICT;
CREATE INDEX function_versions_component ON function_versions (component);

-- Which versions run. 'builtin' stands for the one in the program itself.
CREATE TABLE functions (
    name            TEXT PRIMARY KEY,
    live            TEXT NOT NULL,
    canary          TEXT,
    -- The canary's share, of 10,000.
    weight          INTEGER,
    previous        TEXT,
    enabled         INTEGER NOT NULL,
    -- The version that was last deployed from the folder of functions.
    folder          TEXT
) STRICT, WITHOUT ROWID;

-- The highest serial that was ever live. Outlives the function, so that nobody goes back behind it
-- by removing the function first.
CREATE TABLE function_serials (
    function TEXT PRIMARY KEY,
    highest  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What was decided about a function, by whom and why.
CREATE TABLE function_decisions (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    function TEXT NOT NULL,
    time_ms  INTEGER NOT NULL,
    what     TEXT NOT NULL,
    version  TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    -- As JSON; what it is depends on `what`.
    details  TEXT NOT NULL
) STRICT;
CREATE INDEX function_decisions_of ON function_decisions (function, seq);

-- Who may use the API. The token itself is nowhere.
CREATE TABLE tokens (
    name       TEXT PRIMARY KEY,
    -- SHA-256 of the token.
    digest     BLOB NOT NULL UNIQUE,
    scope      TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    -- NULL: never.
    expires_ms INTEGER
) STRICT, WITHOUT ROWID;

-- Who changed what over the API.
CREATE TABLE audit (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ms INTEGER NOT NULL,
    who     TEXT NOT NULL,
    action  TEXT NOT NULL,
    subject TEXT NOT NULL,
    outcome TEXT NOT NULL
) STRICT;
