-- The node's ledger in PostgreSQL, version 1: SQLite's version 4, whose files say what each table
-- and column means. `rowid` is SQLite's: the order of insertion. Text is compared byte by byte.

CREATE TABLE migrations (
    number BIGINT PRIMARY KEY
);

CREATE TABLE owner (
    chain_id BIGINT NOT NULL,
    oracle   TEXT NOT NULL
);

CREATE TABLE cursor (
    block          BIGINT NOT NULL,
    chunk          BIGINT NOT NULL,
    head           BIGINT NOT NULL,
    head_timestamp BIGINT NOT NULL,
    head_base_fee  TEXT NOT NULL
);

CREATE TABLE blocks (
    number BIGINT PRIMARY KEY,
    hash   BYTEA NOT NULL
);

CREATE TABLE jobs (
    rowid        BIGINT GENERATED ALWAYS AS IDENTITY,
    job_id       TEXT COLLATE "C" PRIMARY KEY,
    bundle_id    TEXT NOT NULL,
    size         BIGINT NOT NULL DEFAULT 1,
    payee        TEXT NOT NULL DEFAULT '',
    state        TEXT NOT NULL,
    attempts     BIGINT NOT NULL DEFAULT 0,
    memory_bytes BIGINT NOT NULL,
    not_before   DOUBLE PRECISION NOT NULL DEFAULT 0,
    node_id      TEXT NOT NULL DEFAULT '',
    lease_until  DOUBLE PRECISION,
    error        TEXT NOT NULL DEFAULT '',
    proof        BYTEA,
    outputs      TEXT,
    prove_time   DOUBLE PRECISION,
    created_at   DOUBLE PRECISION NOT NULL
);
CREATE INDEX jobs_by_state ON jobs (state, created_at);
CREATE INDEX jobs_by_circuit ON jobs (bundle_id, size, created_at) WHERE state = 'proved';

CREATE TABLE requests (
    request_id        TEXT COLLATE "C" PRIMARY KEY,
    state             TEXT NOT NULL,
    reason            TEXT NOT NULL DEFAULT '',
    account           TEXT NOT NULL,
    model_id          TEXT NOT NULL,
    input             BYTEA NOT NULL,
    callback_contract TEXT NOT NULL,
    callback_gas      TEXT NOT NULL,
    callback_data     BYTEA NOT NULL,
    refund_to         TEXT NOT NULL,
    deadline          TEXT NOT NULL,
    expires_at        BIGINT NOT NULL,
    fee               TEXT NOT NULL,
    gas_money         TEXT NOT NULL,
    gas_units         TEXT NOT NULL,
    protocol_bps      BIGINT NOT NULL,
    block_number      BIGINT NOT NULL,
    block_hash        BYTEA NOT NULL,
    transaction_hash  BYTEA NOT NULL,
    log_index         BIGINT NOT NULL,
    payee             TEXT NOT NULL DEFAULT '',
    alone             BIGINT NOT NULL DEFAULT 0,
    job_id            TEXT COLLATE "C" REFERENCES jobs (job_id),
    ended_block       BIGINT,
    ceiling           BIGINT,
    seen_at           DOUBLE PRECISION NOT NULL,
    updated_at        DOUBLE PRECISION NOT NULL
);
CREATE INDEX requests_by_state ON requests (state, block_number, log_index);
CREATE INDEX requests_by_place ON requests (block_number, log_index, request_id);
CREATE INDEX requests_by_expiry ON requests (expires_at)
    WHERE state IN ('seen', 'accepted', 'queued', 'running', 'proved');
CREATE INDEX requests_refused ON requests (state, expires_at) WHERE state IN ('skipped', 'failed');
CREATE INDEX requests_by_age ON requests (updated_at);
CREATE INDEX requests_by_job ON requests (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX requests_ended ON requests (ended_block) WHERE ended_block IS NOT NULL;

CREATE TABLE state_counts (
    state  TEXT PRIMARY KEY,
    amount BIGINT NOT NULL
);
-- Once for a statement: a row that one transaction updates again and again gets slower each time.
CREATE FUNCTION count_requests() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO state_counts (state, amount)
        SELECT state, count(*) FROM added GROUP BY state
        ON CONFLICT (state) DO UPDATE SET amount = state_counts.amount + excluded.amount;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO state_counts (state, amount)
        SELECT state, -count(*) FROM removed GROUP BY state
        ON CONFLICT (state) DO UPDATE SET amount = state_counts.amount + excluded.amount;
    ELSE
        INSERT INTO state_counts (state, amount)
        SELECT state, sum(change) FROM (
            SELECT state, 1 AS change FROM added UNION ALL SELECT state, -1 FROM removed
        ) AS changes GROUP BY state HAVING sum(change) != 0
        ON CONFLICT (state) DO UPDATE SET amount = state_counts.amount + excluded.amount;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER requests_added AFTER INSERT ON requests
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_requests();
CREATE TRIGGER requests_moved AFTER UPDATE ON requests
    REFERENCING OLD TABLE AS removed NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION count_requests();
CREATE TRIGGER requests_deleted AFTER DELETE ON requests
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION count_requests();

CREATE TABLE top_ups (
    top_up_id  BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request_id TEXT COLLATE "C" NOT NULL REFERENCES requests (request_id) ON DELETE CASCADE,
    block      BIGINT NOT NULL,
    previous   TEXT NOT NULL
);
CREATE INDEX top_ups_by_block ON top_ups (block);
CREATE INDEX top_ups_by_request ON top_ups (request_id);

CREATE TABLE job_requests (
    job_id     TEXT COLLATE "C" NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
    position   BIGINT NOT NULL,
    request_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (job_id, position)
);
CREATE INDEX job_requests_by_request ON job_requests (request_id);

CREATE TABLE intents (
    intent_id   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id      TEXT NOT NULL DEFAULT '',
    account     TEXT NOT NULL,
    nonce       BIGINT NOT NULL,
    state       TEXT NOT NULL,
    gas         BIGINT NOT NULL,
    ceiling     TEXT NOT NULL,
    mined_block BIGINT,
    created_at  DOUBLE PRECISION NOT NULL
);
CREATE UNIQUE INDEX intents_by_nonce ON intents (account, nonce) WHERE state != 'displaced';
CREATE INDEX intents_by_state ON intents (state);
CREATE INDEX intents_by_age ON intents (created_at);
CREATE INDEX intents_mined ON intents (mined_block) WHERE mined_block IS NOT NULL;
CREATE INDEX intents_by_job ON intents (job_id);

CREATE TABLE intent_requests (
    intent_id  BIGINT NOT NULL REFERENCES intents (intent_id) ON DELETE CASCADE,
    request_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (intent_id, request_id)
);
CREATE INDEX intent_requests_by_request ON intent_requests (request_id);

CREATE TABLE transactions (
    rowid        BIGINT GENERATED ALWAYS AS IDENTITY,
    hash         BYTEA PRIMARY KEY,
    intent_id    BIGINT NOT NULL REFERENCES intents (intent_id) ON DELETE CASCADE,
    raw          BYTEA NOT NULL,
    max_fee      TEXT NOT NULL,
    priority_fee TEXT NOT NULL,
    cancels      BIGINT NOT NULL,
    broadcast_at DOUBLE PRECISION,
    created_at   DOUBLE PRECISION NOT NULL
);
CREATE INDEX transactions_by_intent ON transactions (intent_id, created_at);

CREATE TABLE history (
    rowid      BIGINT GENERATED ALWAYS AS IDENTITY,
    request_id TEXT COLLATE "C" NOT NULL,
    at         DOUBLE PRECISION NOT NULL,
    state      TEXT NOT NULL,
    reason     TEXT NOT NULL
);
CREATE INDEX history_by_request ON history (request_id);
CREATE INDEX history_by_time ON history (at);

CREATE TABLE nodes (
    node_id    TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    account    TEXT NOT NULL,
    payee      TEXT NOT NULL,
    workers    BIGINT NOT NULL,
    expires_at DOUBLE PRECISION NOT NULL
);

CREATE TABLE duties (
    duty    TEXT PRIMARY KEY,
    node_id TEXT NOT NULL
);
