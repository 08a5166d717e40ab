-- Several nodes on one queue, and a ledger of a million requests.

-- Nodes that share the queue. One is alive until `expires_at`, which it moves on; the only node of
-- a SQLite file never expires.
CREATE TABLE nodes (
    -- One run of a node.
    node_id    TEXT PRIMARY KEY,
    -- Host and process, for a person.
    name       TEXT NOT NULL,
    -- Who sends, and whom its proofs name.
    account    TEXT NOT NULL,
    payee      TEXT NOT NULL,
    workers    INTEGER NOT NULL,
    expires_at REAL NOT NULL
) STRICT;

-- What only one node does at a time: reading the chain, sending from an account.
CREATE TABLE duties (
    duty    TEXT PRIMARY KEY,
    node_id TEXT NOT NULL
) STRICT;

-- Who runs a RUNNING job, and whom its proof names.
ALTER TABLE jobs ADD COLUMN node_id TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN payee   TEXT NOT NULL DEFAULT '';
-- Whose proof is to answer it, once it is accepted.
ALTER TABLE requests ADD COLUMN payee TEXT NOT NULL DEFAULT '';

-- Requests by state, counted as they move.
CREATE TABLE state_counts (
    state  TEXT PRIMARY KEY,
    amount INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO state_counts (state, amount) SELECT state, count(*) FROM requests GROUP BY state;
CREATE TRIGGER requests_added AFTER INSERT ON requests BEGIN
    INSERT INTO state_counts (state, amount) VALUES (NEW.state, 1)
    ON CONFLICT (state) DO UPDATE SET amount = amount + 1;
END;
CREATE TRIGGER requests_moved AFTER UPDATE OF state ON requests BEGIN
    INSERT INTO state_counts (state, amount) VALUES (NEW.state, 1)
    ON CONFLICT (state) DO UPDATE SET amount = amount + 1;
    UPDATE state_counts SET amount = amount - 1 WHERE state = OLD.state;
END;
CREATE TRIGGER requests_deleted AFTER DELETE ON requests BEGIN
    UPDATE state_counts SET amount = amount - 1 WHERE state = OLD.state;
END;

-- The newest and a page of all, in chain order.
DROP INDEX requests_by_block;
CREATE INDEX requests_by_place ON requests (block_number, log_index, request_id);
-- What a start looks at again; what is old enough to be deleted.
CREATE INDEX requests_refused ON requests (state, expires_at) WHERE state IN ('skipped', 'failed');
CREATE INDEX requests_by_age ON requests (updated_at);
CREATE INDEX intents_by_age ON intents (created_at);
CREATE INDEX requests_ended ON requests (ended_block) WHERE ended_block IS NOT NULL;
CREATE INDEX intents_mined ON intents (mined_block) WHERE mined_block IS NOT NULL;
-- A size that is rare among many proofs.
DROP INDEX jobs_by_bundle;
CREATE INDEX jobs_by_circuit ON jobs (bundle_id, size, created_at) WHERE state = 'proved';

-- Top-ups go with their request.
ALTER TABLE top_ups RENAME TO old_top_ups;
DROP INDEX top_ups_block;
CREATE TABLE top_ups (
    top_up_id  INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL REFERENCES requests (request_id) ON DELETE CASCADE,
    block      INTEGER NOT NULL,
    previous   TEXT NOT NULL
) STRICT;
INSERT INTO top_ups SELECT top_up_id, request_id, block, previous FROM old_top_ups;
DROP TABLE old_top_ups;
CREATE INDEX top_ups_by_block ON top_ups (block);
CREATE INDEX top_ups_by_request ON top_ups (request_id);

-- Which transactions name a request is asked for after a reorg.
CREATE INDEX intents_by_job ON intents (job_id);
