-- Proofs of several rows and of several requests, and transactions that answer several requests.

-- Rows that the circuit proves at once.
ALTER TABLE jobs ADD COLUMN size INTEGER NOT NULL DEFAULT 1;

-- What a proof names, in the order of its tag; never changed. requests.job_id says which of a
-- request's proofs is to answer it.
CREATE TABLE job_requests (
    job_id     TEXT NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
    position   INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    PRIMARY KEY (job_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_requests_by_request ON job_requests (request_id);
INSERT INTO job_requests (job_id, position, request_id)
SELECT job_id, row_number() OVER (PARTITION BY job_id ORDER BY block_number, log_index) - 1, request_id
FROM requests WHERE job_id IS NOT NULL;

-- 1 once a batch could not answer it: from then on it is proved alone.
ALTER TABLE requests ADD COLUMN alone INTEGER NOT NULL DEFAULT 0;

-- The requests that a transaction is to answer; it carries the proof of intents.job_id.
CREATE TABLE intent_requests (
    intent_id  INTEGER NOT NULL REFERENCES intents (intent_id) ON DELETE CASCADE,
    request_id TEXT NOT NULL,
    PRIMARY KEY (intent_id, request_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX intent_requests_by_request ON intent_requests (request_id);
INSERT INTO intent_requests (intent_id, request_id) SELECT intent_id, request_id FROM intents;
ALTER TABLE intents ADD COLUMN job_id TEXT NOT NULL DEFAULT '';
UPDATE intents SET job_id = coalesce(
    (SELECT job_id FROM requests WHERE requests.request_id = intents.request_id), '');
DROP INDEX intents_by_request;
ALTER TABLE intents DROP COLUMN request_id;
