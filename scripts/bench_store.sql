-- A ledger as a node leaves it after a month, for bench_store.py. Of a thousand requests 950 are
-- answered, 30 were skipped, 5 failed and 15 were too late; the last :open ones are on their way.

-- name: fill_jobs
INSERT INTO jobs (job_id, bundle_id, size, payee, state, memory_bytes, proof, outputs, prove_time,
    not_before, created_at)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
SELECT 'job' || i, 'bundle', 1, :payee, CASE WHEN i <= :count - :open THEN 'proved' ELSE 'queued' END,
    1000, :bytes, '["1"]', 0.5 + i % 10, 2 * :now, :now - :month * (1 - 1.0 * i / :count)
FROM n WHERE i % 1000 < 955;

-- name: fill_requests
INSERT INTO requests (request_id, state, reason, account, model_id, input, callback_contract,
    callback_gas, callback_data, refund_to, deadline, expires_at, fee, gas_money, gas_units,
    protocol_bps, block_number, block_hash, transaction_hash, log_index, payee, job_id, seen_at,
    updated_at)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
SELECT '0x' || (1000000000000 + CAST(i AS BIGINT) * 7919),
    CASE WHEN i % 1000 >= 985 THEN 'expired' WHEN i % 1000 >= 955 THEN 'skipped'
        WHEN i <= :count - :open THEN CASE WHEN i % 1000 >= 950 THEN 'failed' ELSE 'final' END
        ELSE 'queued' END,
    CASE WHEN i % 1000 BETWEEN 955 AND 984 THEN 'no_bundle: none of the bundles'
        WHEN i % 1000 BETWEEN 950 AND 954 THEN 'PROVER_INPUT: bad' ELSE '' END,
    :payee, '1', :bytes, :payee, '100000', :bytes, :payee, '1900000000',
    -- Every other one has its time still.
    CASE WHEN i % 2 = 0 THEN 1900000000 ELSE 1700000000 END,
    '1000000000000000', '10000000000000000', '1000000', 0, i / 4, :bytes, :bytes, i % 4, :payee,
    CASE WHEN i % 1000 < 955 THEN 'job' || i END,
    :now - :month * (1 - 1.0 * i / :count), :now - :month * (1 - 1.0 * i / :count)
FROM n;

-- name: fill_job_requests
INSERT INTO job_requests (job_id, position, request_id)
SELECT job_id, 0, request_id FROM requests WHERE job_id IS NOT NULL;

-- name: fill_intents
INSERT INTO intents (job_id, account, nonce, state, gas, ceiling, mined_block, created_at)
SELECT job_id, account, block_number * 4 + log_index, 'final', 1000000, '1000000000',
    block_number + 1, updated_at
FROM requests WHERE state = 'final';

-- name: fill_intent_requests
INSERT INTO intent_requests (intent_id, request_id)
SELECT intents.intent_id, requests.request_id FROM intents JOIN requests USING (job_id);

-- name: fill_transactions
INSERT INTO transactions (hash, intent_id, raw, max_fee, priority_fee, cancels, broadcast_at,
    created_at)
SELECT CAST('transaction' || intent_id AS BLOB), intent_id, :bytes, '1000000000', '100000000', 0,
    created_at, created_at
FROM intents;

-- name: fill_history
INSERT INTO history (request_id, at, state, reason)
SELECT request_id, seen_at, :state, '' FROM requests;
