-- The outbox goes backend by backend, and the most urgent first.
DROP INDEX operations_outbox;
CREATE INDEX operations_outbox ON operations (published, backend, priority DESC, number) WHERE state = 'queued';
