-- The latest value of each document of a target.

-- Counts the attempts in the order in which they were granted first.
ALTER TABLE attempts ADD COLUMN granted INTEGER;
CREATE INDEX attempts_granted ON attempts (granted) WHERE granted IS NOT NULL;

CREATE TABLE documents (
    target_kind     TEXT NOT NULL,
    target_id       TEXT NOT NULL,
    name            TEXT NOT NULL,
    -- Which attempt has handed it over, as in `attempts`, and where in its transcript it stands.
    granted         INTEGER NOT NULL,
    seq             INTEGER NOT NULL,
    -- Not a reference: a document outlives its Operation.
    operation       TEXT NOT NULL,
    operation_name  TEXT NOT NULL,
    attempt         INTEGER NOT NULL,
    produced_at     INTEGER NOT NULL,
    -- JSON.
    value           TEXT NOT NULL,
    sha256          TEXT NOT NULL,
    PRIMARY KEY (target_kind, target_id, name)
) STRICT, WITHOUT ROWID;
