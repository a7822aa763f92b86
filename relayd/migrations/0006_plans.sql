-- What plug-ins said of their Tasks' plans in dry runs: the hash over all that such a plan depends on.

CREATE TABLE plans (
    operation   INTEGER NOT NULL REFERENCES operations (number),
    attempt     INTEGER NOT NULL,
    -- The Task's number in the plan.
    task        INTEGER NOT NULL,
    hash        TEXT NOT NULL,
    PRIMARY KEY (operation, attempt, task)
) STRICT, WITHOUT ROWID;
