-- Times are microseconds since 1970-01-01 UTC. An Operation's number counts submissions; it is its place in
-- every line, and what the other tables know it by.

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE operations (
    number            INTEGER PRIMARY KEY AUTOINCREMENT,
    id                TEXT NOT NULL UNIQUE,
    -- The Operation as it is published, secrets sealed.
    document          TEXT NOT NULL,
    name              TEXT NOT NULL,
    backend           TEXT NOT NULL,
    target_kind       TEXT NOT NULL,
    target_id         TEXT NOT NULL,
    target_name       TEXT NOT NULL,
    priority          INTEGER NOT NULL,
    dry_run           INTEGER NOT NULL,
    requested_by      TEXT,
    requested_at      INTEGER NOT NULL,
    state             TEXT NOT NULL,
    reason_code       TEXT,
    reason_message    TEXT,
    revision          INTEGER NOT NULL,
    changed_at        INTEGER NOT NULL,
    attempt           INTEGER NOT NULL,
    -- Who holds the grant for the current attempt.
    node              TEXT,
    -- Whether the broker has confirmed the current attempt, and when it did.
    published         INTEGER NOT NULL,
    published_at      INTEGER,
    cancel_requested  INTEGER NOT NULL,
    cancel_by         TEXT,
    idempotency_key   TEXT UNIQUE,
    -- HMAC-SHA256 over the request in the clear, with a key of this store.
    request_mac       BLOB NOT NULL
) STRICT;

CREATE INDEX operations_state ON operations (state, number);
CREATE INDEX operations_target ON operations (target_kind, target_name, number);
CREATE INDEX operations_name ON operations (name, number);
CREATE INDEX operations_outbox ON operations (published, number) WHERE state = 'queued';

CREATE INDEX operations_canceling ON operations (number)
    WHERE cancel_requested = 1 AND state IN ('claimed', 'running');

CREATE TABLE attempts (
    operation       INTEGER NOT NULL REFERENCES operations (number) ON DELETE CASCADE,
    attempt         INTEGER NOT NULL,
    node            TEXT,
    outcome         TEXT,
    reason_code     TEXT,
    reason_message  TEXT,
    started_at      INTEGER,
    ended_at        INTEGER,
    -- What is stored of the transcript.
    bytes           INTEGER NOT NULL DEFAULT 0,
    records         INTEGER NOT NULL DEFAULT 0,
    -- Whether the transcript has its `finished` record.
    closed          INTEGER NOT NULL DEFAULT 0,
    -- How often what arrived was not what was written: after the first time it is asked for again.
    mismatches      INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (operation, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE ledger (
    operation       INTEGER NOT NULL REFERENCES operations (number) ON DELETE CASCADE,
    revision        INTEGER NOT NULL,
    attempt         INTEGER NOT NULL,
    state           TEXT NOT NULL,
    reason_code     TEXT,
    reason_message  TEXT,
    source          TEXT NOT NULL,
    at              INTEGER NOT NULL,
    PRIMARY KEY (operation, revision)
) STRICT, WITHOUT ROWID;

-- What Operations hold, and what those that wait want. Gone with the Operation's end.
CREATE TABLE locks (
    operation  INTEGER NOT NULL REFERENCES operations (number) ON DELETE CASCADE,
    kind       TEXT NOT NULL,
    id         TEXT NOT NULL,
    mode       TEXT NOT NULL CHECK (mode IN ('shared', 'exclusive')),
    held       INTEGER NOT NULL,
    -- Negated, so that ascending order is the order of rank.
    rank       INTEGER NOT NULL,
    PRIMARY KEY (operation, kind, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX locks_lines ON locks (kind, id, held, mode, rank, operation);

-- The transcript, in the pieces in which it came. Each holds whole records.
CREATE TABLE chunks (
    number     INTEGER PRIMARY KEY,
    operation  INTEGER NOT NULL REFERENCES operations (number) ON DELETE CASCADE,
    attempt    INTEGER NOT NULL,
    -- Where in the transcript it starts.
    start      INTEGER NOT NULL,
    first_seq  INTEGER NOT NULL,
    records    INTEGER NOT NULL,
    bytes      BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX chunks_start ON chunks (operation, attempt, start);
CREATE UNIQUE INDEX chunks_seq ON chunks (operation, attempt, first_seq);

CREATE TABLE catalogs (
    backend      TEXT PRIMARY KEY,
    digest       TEXT NOT NULL,
    recipient    TEXT NOT NULL,
    document     TEXT NOT NULL,
    received_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Codes and session ids are stored as their SHA-256 only.
CREATE TABLE sign_in_codes (
    hash        BLOB PRIMARY KEY,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    hash        BLOB PRIMARY KEY,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
