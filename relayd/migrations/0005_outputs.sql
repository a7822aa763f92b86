-- What a further attempt at an Operation need not do again, and how long documents are to be believed.

ALTER TABLE documents ADD COLUMN fresh_seconds INTEGER;

-- SHA-256 of the role's files, as the attempt's transcript says it.
ALTER TABLE attempts ADD COLUMN digest TEXT;

-- The Tasks that are finished, by their numbers in the plan, and the attempt that did it, by the role's files of that time.
CREATE TABLE done (
    operation   INTEGER NOT NULL REFERENCES operations (number),
    task        INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    digest      TEXT NOT NULL,
    PRIMARY KEY (operation, task)
) STRICT, WITHOUT ROWID;

-- What Tasks have handed over, finished or not.
CREATE TABLE outputs (
    operation   INTEGER NOT NULL REFERENCES operations (number),
    task        INTEGER NOT NULL,
    name        TEXT NOT NULL,
    -- JSON.
    value       TEXT NOT NULL,
    PRIMARY KEY (operation, task, name)
) STRICT, WITHOUT ROWID;
