-- Named statements that SQLite and PostgreSQL read alike. A statement belongs to the `-- name:`
-- line above it. What they say differently is in queries_sqlite.sql and queries_postgres.sql.

-- name: owner
SELECT chain_id, oracle FROM owner;

-- name: own
INSERT INTO owner (chain_id, oracle) VALUES (:chain_id, :oracle);

-- name: cursor
SELECT block, chunk, head, head_timestamp, head_base_fee, block_timestamp FROM cursor;

-- name: start_cursor
INSERT INTO cursor (block, chunk, head, head_timestamp, head_base_fee) VALUES (:block, :chunk, 0, 0, '0');

-- name: set_head
UPDATE cursor SET head = :number, head_timestamp = :timestamp, head_base_fee = :base_fee;

-- name: set_cursor
UPDATE cursor SET block = :block, block_timestamp = :timestamp;

-- name: set_chunk
UPDATE cursor SET chunk = :chunk;

-- name: block_hash
SELECT hash FROM blocks WHERE number = :number;

-- name: put_block
INSERT INTO blocks (number, hash) VALUES (:number, :hash)
ON CONFLICT (number) DO UPDATE SET hash = excluded.hash;

-- name: known_blocks
SELECT number, hash FROM blocks WHERE number <= :last ORDER BY number DESC;

-- name: drop_blocks_after
DELETE FROM blocks WHERE number > :number;

-- name: trim_blocks
-- The newest kept block stays whatever its age: it anchors the reorg check.
DELETE FROM blocks WHERE number < :before AND number < (SELECT block FROM cursor);

-- name: put_request
-- Only an orphaned request is written again: mined anew, its block has changed.
INSERT INTO requests (
    request_id, state, account, model_id, input, callback_contract, callback_gas, callback_data,
    refund_to, deadline, expires_at, fee, gas_money, gas_units, protocol_bps, block_number, block_hash, transaction_hash,
    log_index, seen_at, updated_at
) VALUES (
    :request_id, 'seen', :account, :model_id, :input, :callback_contract, :callback_gas,
    :callback_data, :refund_to, :deadline, :expires_at, :fee, :gas_money, :gas_units,
    :protocol_bps, :block_number, :block_hash, :transaction_hash, :log_index, :now, :now
)
ON CONFLICT (request_id) DO UPDATE SET
    state = 'seen', reason = '', account = excluded.account, model_id = excluded.model_id,
    input = excluded.input, callback_contract = excluded.callback_contract,
    callback_gas = excluded.callback_gas, callback_data = excluded.callback_data,
    refund_to = excluded.refund_to, deadline = excluded.deadline,
    expires_at = excluded.expires_at, fee = excluded.fee, gas_money = excluded.gas_money,
    gas_units = excluded.gas_units, protocol_bps = excluded.protocol_bps,
    block_number = excluded.block_number, block_hash = excluded.block_hash,
    transaction_hash = excluded.transaction_hash, log_index = excluded.log_index,
    job_id = NULL, ended_block = NULL, ceiling = NULL, updated_at = excluded.updated_at
WHERE requests.state = 'orphaned';

-- name: put_top_up
INSERT INTO top_ups (request_id, block, previous)
SELECT request_id, :block, gas_money FROM requests WHERE request_id = :request_id;

-- name: set_gas_money
UPDATE requests SET gas_money = :gas_money, ceiling = NULL WHERE request_id = :request_id;

-- name: undo_top_ups
UPDATE requests SET gas_money = (
    SELECT previous FROM top_ups
    WHERE top_ups.request_id = requests.request_id AND block > :number
    ORDER BY top_up_id LIMIT 1
) WHERE request_id IN (SELECT request_id FROM top_ups WHERE block > :number);

-- name: drop_top_ups_after
DELETE FROM top_ups WHERE block > :number;

-- name: request
SELECT * FROM requests WHERE request_id = :request_id;

-- name: requests_in_state
SELECT * FROM requests WHERE state = :state ORDER BY block_number, log_index LIMIT :limit;

-- name: sendable
SELECT * FROM requests
WHERE state = 'proved' AND payee = :payee AND (ceiling IS NULL OR ceiling >= :least)
  AND (block_number, log_index) > (:block, :log_index)
ORDER BY block_number, log_index LIMIT :limit;

-- name: set_ceiling
UPDATE requests SET ceiling = :ceiling WHERE request_id = :request_id;

-- name: accepted
SELECT * FROM requests WHERE state = 'accepted' AND payee = :payee
ORDER BY block_number, log_index LIMIT :limit;

-- name: set_payee
UPDATE requests SET payee = :payee WHERE request_id = :request_id;

-- name: requests_of_job
SELECT * FROM requests WHERE job_id = :job_id ORDER BY block_number, log_index;

-- name: requests_in_proof
SELECT requests.* FROM job_requests JOIN requests USING (request_id)
WHERE job_requests.job_id = :job_id ORDER BY position;

-- name: recent_requests
SELECT * FROM requests ORDER BY block_number DESC, log_index DESC LIMIT :limit;

-- name: move_request
UPDATE requests SET state = :target, reason = :reason, updated_at = :now
WHERE request_id = :request_id AND state = :source;

-- name: set_alone
UPDATE requests SET alone = 1 WHERE request_id = :request_id;

-- name: set_job
UPDATE requests SET job_id = :job_id WHERE request_id = :request_id;

-- name: set_ended
UPDATE requests SET ended_block = :block WHERE request_id = :request_id;

-- name: expired
SELECT * FROM requests
WHERE expires_at < :chain_time AND state IN ('seen', 'accepted', 'queued', 'running', 'proved')
LIMIT :limit;

-- name: expired_too_early
-- Given up though the chain's time still allows an answer.
SELECT * FROM requests
WHERE state = 'expired' AND expires_at >= :chain_time LIMIT :limit;

-- name: requests_after_block
SELECT * FROM requests WHERE block_number > :block AND state != 'orphaned';

-- name: ended_after_block
SELECT * FROM requests WHERE ended_block > :block AND state IN ('lost', 'cancelled');

-- name: count_states
-- Kept by triggers: counting a million rows takes longer than a person waits.
SELECT state, amount FROM state_counts WHERE amount > 0;

-- name: open_of_account
SELECT count(*) AS amount FROM requests
WHERE state IN ('accepted', 'queued', 'running', 'proved', 'pending') AND account = :account;

-- name: note
INSERT INTO history (request_id, at, state, reason) VALUES (:request_id, :now, :target, :reason);

-- name: history
SELECT at, state, reason FROM history WHERE request_id = :request_id ORDER BY rowid;

-- name: put_job
INSERT INTO jobs (job_id, bundle_id, size, payee, state, memory_bytes, created_at)
VALUES (:job_id, :bundle_id, :size, :payee, 'queued', :memory_bytes, :now);

-- name: put_job_request
INSERT INTO job_requests (job_id, position, request_id) VALUES (:job_id, :position, :request_id)
ON CONFLICT DO NOTHING;

-- name: ids_of_job
SELECT request_id FROM job_requests WHERE job_id = :job_id ORDER BY position;

-- name: reusable_proofs
SELECT * FROM jobs
WHERE job_id IN (
    SELECT job_requests.job_id FROM requests JOIN job_requests USING (request_id)
    WHERE requests.state = 'accepted' AND requests.alone = 0)
  -- Not by the index of states: most are proved.
  AND state || '' = 'proved' AND payee = :payee
  AND EXISTS (SELECT 1 FROM job_requests AS more
              WHERE more.job_id = jobs.job_id AND more.position = 1)
ORDER BY created_at DESC;

-- name: open_batches
SELECT * FROM jobs
WHERE job_id IN (SELECT job_id FROM requests
                 WHERE state IN ('queued', 'running', 'proved', 'pending', 'mined'))
  AND EXISTS (SELECT 1 FROM job_requests AS more
              WHERE more.job_id = jobs.job_id AND more.position = 1)
ORDER BY created_at, rowid LIMIT :limit;

-- name: renew_job
UPDATE jobs SET state = 'queued', attempts = 0, memory_bytes = :memory_bytes, not_before = 0,
    lease_until = NULL, node_id = '', error = '', created_at = :now
WHERE job_id = :job_id AND state IN ('failed', 'cancelled');

-- name: job
SELECT * FROM jobs WHERE job_id = :job_id;

-- name: start_job
UPDATE jobs SET state = 'running', attempts = attempts + 1, lease_until = :lease_until,
    node_id = :node_id
WHERE job_id = :job_id AND state = 'queued';

-- name: requeue_job
UPDATE jobs SET state = 'queued', attempts = :attempts, memory_bytes = :memory_bytes,
    not_before = :not_before, lease_until = NULL, node_id = '', error = :error
WHERE job_id = :job_id AND state = 'running' AND node_id = :node_id;

-- name: finish_job
-- Of any node's: a proof that comes after its node was given up is as good.
UPDATE jobs SET state = 'proved', proof = :proof, outputs = :outputs, prove_time = :prove_time,
    lease_until = NULL, node_id = '', error = ''
WHERE job_id = :job_id AND state = 'running';

-- name: fail_job
UPDATE jobs SET state = 'failed', error = :error, lease_until = NULL, node_id = ''
WHERE job_id = :job_id AND state = 'running' AND node_id = :node_id;

-- name: refuse_job
UPDATE jobs SET state = 'failed', error = :error WHERE job_id = :job_id AND state = 'proved';

-- name: cancel_job
UPDATE jobs SET state = 'cancelled', lease_until = NULL, node_id = ''
WHERE job_id = :job_id AND state IN ('queued', 'running');

-- name: unwanted_jobs
-- Open jobs that no request waits for any more.
SELECT job_id, state FROM jobs WHERE state IN ('queued', 'running') AND NOT EXISTS (
    SELECT 1 FROM requests
    WHERE requests.job_id = jobs.job_id AND requests.state IN ('queued', 'running'));

-- name: running_here
SELECT job_id FROM jobs WHERE state = 'running' AND node_id = :node_id;

-- name: deserted_jobs
-- Those whose node is gone.
SELECT * FROM jobs WHERE state = 'running'
  AND node_id NOT IN (SELECT node_id FROM nodes WHERE expires_at > :now);

-- name: live_leases
SELECT count(*) AS amount FROM jobs
WHERE state = 'running' AND lease_until > :now AND node_id = :node_id;

-- name: lapsed_leases
SELECT * FROM jobs WHERE state = 'running' AND lease_until <= :now AND node_id = :node_id;

-- name: backlog
SELECT count(*) AS amount FROM jobs
WHERE state IN ('queued', 'running') AND created_at <= :before AND payee = :payee;

-- name: prove_times
SELECT prove_time FROM jobs WHERE state = 'proved' AND bundle_id = :bundle_id AND size = :size
ORDER BY created_at DESC LIMIT :limit;

-- name: last_nonce
SELECT max(nonce) AS nonce FROM intents WHERE account = :account AND state != 'displaced';

-- name: has_nonce
SELECT 1 FROM intents WHERE account = :account AND nonce = :nonce AND state != 'displaced' LIMIT 1;

-- name: put_intent
INSERT INTO intents (job_id, account, nonce, state, gas, ceiling, created_at)
VALUES (:job_id, :account, :nonce, 'pending', :gas, :ceiling, :now)
RETURNING intent_id AS id;

-- name: put_intent_request
INSERT INTO intent_requests (intent_id, request_id) VALUES (:intent_id, :request_id);

-- name: adopt_request
INSERT INTO intent_requests (intent_id, request_id) VALUES (:intent_id, :request_id)
ON CONFLICT DO NOTHING;

-- name: intents_naming
SELECT intents.* FROM job_requests JOIN intents USING (job_id)
WHERE job_requests.request_id = :request_id
ORDER BY intent_id;

-- name: intents_of_nonce
SELECT * FROM intents WHERE account = :account AND nonce = :nonce AND state != 'displaced';

-- name: ids_of_intent
SELECT request_id FROM intent_requests WHERE intent_id = :intent_id;

-- name: put_transaction
INSERT INTO transactions (hash, intent_id, raw, max_fee, priority_fee, cancels, created_at)
VALUES (:hash, :intent_id, :raw, :max_fee, :priority_fee, :cancels, :now)
-- A displaced intent's transaction, signed anew to the byte after a reorg freed its nonce.
ON CONFLICT (hash) DO UPDATE SET
    intent_id = excluded.intent_id, broadcast_at = NULL, created_at = excluded.created_at;

-- name: intents_in_state
SELECT * FROM intents WHERE state = :state ORDER BY account, nonce;

-- name: intents_to_follow
-- This account's, and those of accounts that no living node has.
SELECT * FROM intents WHERE state = :state AND (account = :account
    OR account NOT IN (SELECT account FROM nodes WHERE expires_at > :now))
ORDER BY account, nonce;

-- name: live_intent
SELECT * FROM intents JOIN intent_requests USING (intent_id)
WHERE request_id = :request_id AND state = 'pending'
ORDER BY intent_id DESC LIMIT 1;

-- name: transactions_of
-- By price, for each replacement pays more: a clock that was set back dates the last one first.
SELECT * FROM transactions WHERE intent_id = :intent_id
ORDER BY length(max_fee), max_fee, created_at, rowid;

-- name: set_broadcast
UPDATE transactions SET broadcast_at = :now WHERE hash = :hash;

-- name: forget_broadcast
UPDATE transactions SET broadcast_at = NULL WHERE intent_id = :intent_id;

-- name: forget_broadcasts
UPDATE transactions SET broadcast_at = NULL
WHERE intent_id IN (SELECT intent_id FROM intents WHERE state = 'pending' AND account NOT IN (
    SELECT account FROM nodes WHERE expires_at > :now AND node_id != :node_id));

-- name: move_intent
UPDATE intents SET state = :target, mined_block = :mined_block
WHERE intent_id = :intent_id AND state = :source;

-- name: intents_mined_after
SELECT * FROM intents WHERE mined_block > :block AND state IN ('mined', 'final');

-- Old rows go in portions, so that no deletion keeps the others waiting; found by their age, not by
-- a state that most rows have (hence `state || ''`, which no index knows).

-- name: trim_intents
-- An intent is older than the last step of its requests.
DELETE FROM intents WHERE intent_id IN (
    SELECT intent_id FROM intents
    WHERE created_at < :before AND state || '' IN ('final', 'displaced') AND NOT EXISTS (
        SELECT 1 FROM intent_requests JOIN requests USING (request_id)
        WHERE intent_requests.intent_id = intents.intent_id AND NOT (
            requests.updated_at < :before AND requests.state IN (
                'skipped', 'final', 'failed', 'expired', 'lost', 'cancelled', 'orphaned')))
    LIMIT :limit);

-- name: trim_requests
-- A proof of several names them all, as long as one of them may need it.
DELETE FROM requests WHERE request_id IN (
    SELECT request_id FROM requests
    WHERE updated_at < :before
      AND state || '' IN ('skipped', 'final', 'failed', 'expired', 'lost', 'cancelled', 'orphaned')
      AND NOT EXISTS (SELECT 1 FROM intent_requests
                      WHERE intent_requests.request_id = requests.request_id)
      AND NOT EXISTS (
        SELECT 1 FROM job_requests AS mine JOIN job_requests AS theirs USING (job_id)
        JOIN requests AS other ON other.request_id = theirs.request_id
        WHERE mine.request_id = requests.request_id AND other.state NOT IN (
            'skipped', 'final', 'failed', 'expired', 'lost', 'cancelled', 'orphaned'))
    LIMIT :limit);

-- name: trim_jobs
DELETE FROM jobs WHERE job_id IN (
    SELECT job_id FROM jobs
    WHERE created_at < :before AND state IN ('proved', 'failed', 'cancelled')
      AND NOT EXISTS (SELECT 1 FROM requests WHERE requests.job_id = jobs.job_id)
    LIMIT :limit);

-- name: trim_history
DELETE FROM history WHERE at < :before AND request_id IN (
    SELECT request_id FROM history
    WHERE at < :before
      AND NOT EXISTS (SELECT 1 FROM requests WHERE requests.request_id = history.request_id)
    LIMIT :limit);

-- Nodes of one queue.

-- name: join
INSERT INTO nodes (node_id, name, account, payee, workers, expires_at)
VALUES (:node_id, :name, :account, :payee, :workers, :expires_at)
ON CONFLICT (node_id) DO UPDATE SET expires_at = excluded.expires_at;

-- name: beat
UPDATE nodes SET expires_at = :expires_at WHERE node_id = :node_id;

-- name: leave
DELETE FROM nodes WHERE node_id = :node_id;

-- name: only_node
DELETE FROM nodes WHERE node_id != :node_id;

-- name: drop_dead_nodes
DELETE FROM nodes WHERE expires_at <= :now;

-- name: living_nodes
SELECT * FROM nodes WHERE expires_at > :now ORDER BY name, node_id;

-- name: forget_troubles
DELETE FROM troubles WHERE node_id = :node_id;

-- name: add_trouble
INSERT INTO troubles (node_id, subject, code, detail, since)
VALUES (:node_id, :subject, :code, :detail, :since);

-- name: troubles
SELECT nodes.name, troubles.* FROM troubles JOIN nodes USING (node_id)
WHERE nodes.expires_at > :now ORDER BY nodes.name, troubles.since, troubles.subject;

-- name: duty
-- The living node that has a duty.
SELECT duties.node_id FROM duties JOIN nodes USING (node_id)
WHERE duties.duty = :duty AND nodes.expires_at > :now;

-- name: take_duty
-- Only a living node takes one, and only what no living node has.
INSERT INTO duties (duty, node_id)
SELECT :duty, node_id FROM nodes WHERE node_id = :node_id AND expires_at > :now
ON CONFLICT (duty) DO UPDATE SET node_id = excluded.node_id
WHERE duties.node_id NOT IN (SELECT node_id FROM nodes WHERE expires_at > :now);

-- name: drop_duty
DELETE FROM duties WHERE duty = :duty AND node_id = :node_id;

-- name: drop_duties
DELETE FROM duties WHERE node_id NOT IN (SELECT node_id FROM nodes);

-- name: adopt_requests
-- Rows of a version that did not note whose they are.
UPDATE requests SET payee = :payee
WHERE payee = '' AND state IN ('accepted', 'queued', 'running', 'proved');

-- name: adopt_jobs
UPDATE jobs SET payee = :payee WHERE payee = '' AND state IN ('queued', 'running');

-- name: deserted_requests
-- Taken, not sent, and nobody works for their payee any more.
SELECT * FROM requests
WHERE state IN ('accepted', 'queued', 'running', 'proved') AND payee != ''
  AND payee NOT IN (SELECT payee FROM nodes WHERE expires_at > :now);

-- For the operator.

-- name: requests_by_prefix
SELECT * FROM requests WHERE request_id >= :low AND request_id < :high
ORDER BY request_id LIMIT :limit;

-- name: jobs_by_prefix
SELECT * FROM jobs WHERE job_id >= :low AND job_id < :high ORDER BY job_id LIMIT 2;

-- name: exported
-- In chain order, a page at a time; with the last transaction that was meant for each.
SELECT requests.*, jobs.prove_time, intents.account AS sender, intents.nonce,
    intents.mined_block,
    (SELECT hash FROM transactions WHERE transactions.intent_id = intents.intent_id
     ORDER BY created_at DESC, transactions.rowid DESC LIMIT 1) AS answer_hash,
    (SELECT history.reason FROM history
     WHERE history.request_id = requests.request_id AND history.state = 'mined'
     ORDER BY history.at DESC LIMIT 1) AS mined
FROM requests
LEFT JOIN jobs ON jobs.job_id = requests.job_id
LEFT JOIN intents ON intents.intent_id = (
    SELECT max(intent_requests.intent_id) FROM intent_requests
    WHERE intent_requests.request_id = requests.request_id)
WHERE (requests.block_number, requests.log_index, requests.request_id)
    > (:block, :log_index, :request_id) AND requests.updated_at >= :since
ORDER BY requests.block_number, requests.log_index, requests.request_id LIMIT :limit;

-- How it is going.

-- name: totals
SELECT name, label, amount FROM totals;

-- name: add_total
INSERT INTO totals (name, label, amount) VALUES (:name, :label, :amount)
ON CONFLICT (name, label) DO UPDATE SET amount = totals.amount + excluded.amount;

-- name: earnings
SELECT * FROM earnings WHERE day >= :day ORDER BY day, length(model_id), model_id, result;

-- name: add_earnings
INSERT INTO earnings (
    day, model_id, result, transactions, requests, gas,
    spent_gwei, spent_wei, fees_gwei, fees_wei, refunds_gwei, refunds_wei)
VALUES (
    :day, :model_id, :result, 1, :requests, :gas,
    :spent_gwei, :spent_wei, :fees_gwei, :fees_wei, :refunds_gwei, :refunds_wei)
ON CONFLICT (day, model_id, result) DO UPDATE SET
    transactions = earnings.transactions + excluded.transactions,
    requests = earnings.requests + excluded.requests,
    gas = earnings.gas + excluded.gas,
    spent_gwei = earnings.spent_gwei + excluded.spent_gwei,
    spent_wei = earnings.spent_wei + excluded.spent_wei,
    fees_gwei = earnings.fees_gwei + excluded.fees_gwei,
    fees_wei = earnings.fees_wei + excluded.fees_wei,
    refunds_gwei = earnings.refunds_gwei + excluded.refunds_gwei,
    refunds_wei = earnings.refunds_wei + excluded.refunds_wei;

-- name: answer_times
SELECT requests.seen_at, jobs.prove_time FROM requests LEFT JOIN jobs ON jobs.job_id = requests.job_id
WHERE requests.request_id = :request_id;

-- name: count_jobs
SELECT count(*) AS amount FROM jobs WHERE state = :state;

-- name: count_jobs_up_to
SELECT count(*) AS amount FROM (SELECT 1 FROM jobs WHERE state = :state LIMIT :most) AS counted;

-- name: oldest_open_request
SELECT min(seen_at) AS since FROM requests
WHERE state IN ('seen', 'accepted', 'queued', 'running', 'proved', 'pending');

-- name: oldest_pending_intent
SELECT min(created_at) AS since FROM intents WHERE state = 'pending';

-- name: nonces_from
SELECT count(*) AS amount, max(nonce) AS last FROM intents
WHERE account = :account AND nonce >= :nonce AND state != 'displaced';

-- name: job_that_cannot_start
SELECT error FROM jobs WHERE state = 'queued' AND error LIKE :code LIMIT 1;

-- name: last_jobs
SELECT error, created_at FROM jobs WHERE state = :state ORDER BY created_at DESC LIMIT :limit;

-- Places of requests, for pages of them: at one and before it, newest first; or after it, oldest
-- first. Each is read off an index, however many requests there are.

-- name: places_back
SELECT block_number, log_index, request_id FROM requests
WHERE (block_number, log_index, request_id) <= (:block, :log_index, :request_id)
ORDER BY block_number DESC, log_index DESC, request_id DESC LIMIT :limit;

-- name: places_on
SELECT block_number, log_index, request_id FROM requests
WHERE (block_number, log_index, request_id) > (:block, :log_index, :request_id)
ORDER BY block_number, log_index, request_id LIMIT :limit;

-- name: places_back_in_state
SELECT block_number, log_index, request_id FROM requests
WHERE state = :state AND (block_number, log_index) <= (:block, :log_index)
  AND (block_number, log_index, request_id) <= (:block, :log_index, :request_id)
ORDER BY block_number DESC, log_index DESC, request_id DESC LIMIT :limit;

-- name: places_on_in_state
SELECT block_number, log_index, request_id FROM requests
WHERE state = :state AND (block_number, log_index) >= (:block, :log_index)
  AND (block_number, log_index, request_id) > (:block, :log_index, :request_id)
ORDER BY block_number, log_index, request_id LIMIT :limit;

-- name: places_back_of_model
SELECT block_number, log_index, request_id FROM requests
WHERE model_id = :model_id AND state = :state
  AND (block_number, log_index, request_id) <= (:block, :log_index, :request_id)
ORDER BY block_number DESC, log_index DESC, request_id DESC LIMIT :limit;

-- name: places_on_of_model
SELECT block_number, log_index, request_id FROM requests
WHERE model_id = :model_id AND state = :state
  AND (block_number, log_index, request_id) > (:block, :log_index, :request_id)
ORDER BY block_number, log_index, request_id LIMIT :limit;

-- name: places_of_ids
-- By the ids' text, which has no leading zeros.
SELECT block_number, log_index, request_id, state, model_id FROM requests
WHERE request_id BETWEEN :low AND :high AND length(request_id) BETWEEN :shortest AND :longest
ORDER BY request_id LIMIT :limit;

-- name: ended_so
SELECT request_id, reason, updated_at FROM requests
WHERE state = :state ORDER BY block_number DESC, log_index DESC LIMIT :limit;

-- name: prover_steps
SELECT DISTINCT requests.job_id, history.at, history.state
FROM history JOIN requests USING (request_id)
WHERE history.at >= :since AND requests.job_id IS NOT NULL
  AND history.state NOT IN ('seen', 'pending', 'mined', 'final')
ORDER BY history.at DESC LIMIT :limit;
