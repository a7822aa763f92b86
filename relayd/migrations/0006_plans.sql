-- Dry runs whose plan somebody approves, and what plug-ins said of their Tasks' plans there.

-- The dry run whose plan an Operation carries out, and which attempt at it made that.
ALTER TABLE operations ADD COLUMN approves INTEGER REFERENCES operations (number);
ALTER TABLE operations ADD COLUMN approves_attempt INTEGER;
CREATE INDEX operations_approves ON operations (approves, approves_attempt) WHERE approves IS NOT NULL;

-- The hash over all that such a plan depends on.
CREATE TABLE plans (
    operation   INTEGER NOT NULL REFERENCES operations (number),
    attempt     INTEGER NOT NULL,
    -- The Task's number in the plan.
    task        INTEGER NOT NULL,
    hash        TEXT NOT NULL,
    PRIMARY KEY (operation, attempt, task)
) STRICT, WITHOUT ROWID;
