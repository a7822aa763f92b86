-- Further attempts, leases, pauses.

-- What the manifest said about trying again when the Operation was accepted; none of it ever changes.
ALTER TABLE operations ADD COLUMN lease_seconds INTEGER;
ALTER TABLE operations ADD COLUMN retry_attempts INTEGER;
ALTER TABLE operations ADD COLUMN retry_backoff_seconds INTEGER;
-- How often the current attempt was granted.
ALTER TABLE operations ADD COLUMN grants INTEGER NOT NULL DEFAULT 0;
-- Set while the current attempt waits for its time: how long, counted from relayd's last start at the latest.
ALTER TABLE operations ADD COLUMN backoff_seconds INTEGER;

-- What has a deadline, to be found at the start.
CREATE INDEX operations_leased ON operations (number)
    WHERE lease_seconds IS NOT NULL AND state IN ('claimed', 'running');
CREATE INDEX operations_backoff ON operations (number) WHERE backoff_seconds IS NOT NULL;

-- Backends on which nothing new may start.
CREATE TABLE pauses (
    backend  TEXT PRIMARY KEY,
    by       TEXT,
    reason   TEXT,
    since    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The outbox goes backend by backend.
DROP INDEX operations_outbox;
CREATE INDEX operations_outbox ON operations (published, backend, number) WHERE state = 'queued';

-- How long an Operation has been waiting for a claim is counted by a clock that nobody sets.
ALTER TABLE operations DROP COLUMN published_at;
