-- Messages that nobody could handle, taken from the queue aegir.dead.

CREATE TABLE dead_letters (
    number           INTEGER PRIMARY KEY AUTOINCREMENT,
    code             TEXT NOT NULL,
    reason           TEXT NOT NULL,
    queue            TEXT NOT NULL,
    exchange         TEXT NOT NULL,
    routing_key      TEXT NOT NULL,
    content_type     TEXT,
    message_id       TEXT,
    buried_at        INTEGER,
    received_at      INTEGER NOT NULL,
    replays          INTEGER NOT NULL,
    headers_dropped  INTEGER NOT NULL,
    -- The properties as AMQP encodes them.
    properties       BLOB NOT NULL,
    body             BLOB NOT NULL,
    -- How much of the body that is: whole, redacted or removed.
    kept             TEXT NOT NULL,
    -- How many bytes the body had.
    size             INTEGER NOT NULL,
    -- How many bytes of the message are kept.
    held             INTEGER NOT NULL,
    -- SHA-256 of the message, by which a second delivery of it is known.
    fingerprint      BLOB NOT NULL
) STRICT;

CREATE INDEX dead_letters_code ON dead_letters (code, number);
CREATE INDEX dead_letters_queue ON dead_letters (queue, number);
CREATE INDEX dead_letters_fingerprint ON dead_letters (fingerprint);
-- Counts and sums without a look at the bodies.
CREATE INDEX dead_letters_held ON dead_letters (held);
