-- The node's ledger, version 1.
-- Numbers that may pass 63 bits (ids, wei, gas, deadlines) are TEXT: ids in hex, the rest decimal.
-- Times are seconds since the epoch. States are those of states.py.

-- What this database belongs to: chain id and oracle address, checked at every start.
CREATE TABLE owner (
    chain_id INTEGER NOT NULL,
    oracle   TEXT NOT NULL
) STRICT;

-- How far the chain was read. One row.
CREATE TABLE cursor (
    -- Last block whose logs are in this database.
    block          INTEGER NOT NULL,
    -- Blocks per log query that the provider accepts.
    chunk          INTEGER NOT NULL,
    -- The chain's head when it was last looked at.
    head           INTEGER NOT NULL,
    head_timestamp INTEGER NOT NULL,
    head_base_fee  TEXT NOT NULL
) STRICT;

-- Hashes of blocks that were read, so that a reorg is noticed and its common ancestor found.
CREATE TABLE blocks (
    number INTEGER PRIMARY KEY,
    hash   BLOB NOT NULL
) STRICT;

CREATE TABLE requests (
    request_id        TEXT PRIMARY KEY,
    state             TEXT NOT NULL,
    -- Why it was skipped, failed or lost; a stable code, then words.
    reason            TEXT NOT NULL DEFAULT '',
    account           TEXT NOT NULL,
    model_id          TEXT NOT NULL,
    input             BLOB NOT NULL,
    callback_contract TEXT NOT NULL,
    callback_gas      TEXT NOT NULL,
    callback_data     BLOB NOT NULL,
    refund_to         TEXT NOT NULL,
    deadline          TEXT NOT NULL,
    -- The deadline, capped at 63 bits, for the index.
    expires_at        INTEGER NOT NULL,
    fee               TEXT NOT NULL,
    gas_money         TEXT NOT NULL,
    block_number      INTEGER NOT NULL,
    block_hash        BLOB NOT NULL,
    transaction_hash  BLOB NOT NULL,
    log_index         INTEGER NOT NULL,
    -- The proof that answers it, once it is accepted.
    job_id            TEXT REFERENCES jobs (job_id),
    -- The block in which the chain ended it, when another sender or a refund did.
    ended_block       INTEGER,
    -- Wei per gas that its money justifies, capped at 63 bits; NULL until it was found too little.
    ceiling           INTEGER,
    seen_at           REAL NOT NULL,
    updated_at        REAL NOT NULL
) STRICT;
CREATE INDEX requests_by_state ON requests (state, block_number, log_index);
CREATE INDEX requests_by_block ON requests (block_number);
CREATE INDEX requests_by_expiry ON requests (expires_at) WHERE state IN ('seen', 'accepted', 'queued', 'running', 'proved');
CREATE INDEX requests_by_job ON requests (job_id) WHERE job_id IS NOT NULL;

-- One proof. Its id is the hash of what it states, so the same statement is never proved twice.
CREATE TABLE jobs (
    job_id       TEXT PRIMARY KEY,
    bundle_id    TEXT NOT NULL,
    state        TEXT NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    memory_bytes INTEGER NOT NULL,
    not_before   REAL NOT NULL DEFAULT 0,
    -- A RUNNING job holds one unit of the prover's capacity until then.
    lease_until  REAL,
    error        TEXT NOT NULL DEFAULT '',
    proof        BLOB,
    -- JSON list of decimal integers, fixed point.
    outputs      TEXT,
    prove_time   REAL,
    created_at   REAL NOT NULL
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, created_at);
CREATE INDEX jobs_by_bundle ON jobs (bundle_id, created_at) WHERE state = 'proved';

-- One nonce of one account and what it is meant for.
CREATE TABLE intents (
    intent_id   INTEGER PRIMARY KEY,
    request_id  TEXT NOT NULL,
    account     TEXT NOT NULL,
    nonce       INTEGER NOT NULL,
    state       TEXT NOT NULL,
    gas         INTEGER NOT NULL,
    -- Wei per gas that the request's money justifies; nothing sent for it goes above.
    ceiling     TEXT NOT NULL,
    mined_block INTEGER,
    created_at  REAL NOT NULL
) STRICT;
-- A displaced intent has no claim any more: a reorg may give its nonce back to the account.
CREATE UNIQUE INDEX intents_by_nonce ON intents (account, nonce) WHERE state != 'displaced';
CREATE INDEX intents_by_state ON intents (state);
CREATE INDEX intents_by_request ON intents (request_id);

-- Every signed transaction of an intent, stored before it is broadcast.
CREATE TABLE transactions (
    hash         BLOB PRIMARY KEY,
    intent_id    INTEGER NOT NULL REFERENCES intents (intent_id) ON DELETE CASCADE,
    raw          BLOB NOT NULL,
    max_fee      TEXT NOT NULL,
    priority_fee TEXT NOT NULL,
    -- 1 when it only uses up the nonce: the request had ended, or paid too little for it.
    cancels      INTEGER NOT NULL,
    -- When an endpoint last took it; NULL while that is unknown.
    broadcast_at REAL,
    created_at   REAL NOT NULL
) STRICT;
CREATE INDEX transactions_by_intent ON transactions (intent_id, created_at);

-- Every step of every request, for a person who asks what happened.
CREATE TABLE history (
    request_id TEXT NOT NULL,
    at         REAL NOT NULL,
    state      TEXT NOT NULL,
    reason     TEXT NOT NULL
) STRICT;
CREATE INDEX history_by_request ON history (request_id);
CREATE INDEX history_by_time ON history (at);
