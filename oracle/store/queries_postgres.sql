-- Named statements in PostgreSQL's words. Lists are JSON.

-- name: skipped_for
SELECT * FROM requests
WHERE state = 'skipped' AND expires_at >= :chain_time
  AND split_part(reason, ':', 1) IN (SELECT json_array_elements_text(CAST(:codes AS json)))
  AND (ceiling IS NULL OR ceiling >= :least)
  AND (block_number, log_index) > (:block, :log_index)
ORDER BY block_number, log_index LIMIT :limit;

-- name: note_reconsidered
INSERT INTO history (request_id, at, state, reason)
SELECT request_id, :now, 'seen', 'looked at again' FROM requests
WHERE expires_at >= :chain_time AND state IN ('skipped', 'failed') AND (state = 'skipped'
    OR split_part(reason, ':', 1) IN (SELECT json_array_elements_text(CAST(:codes AS json))));

-- name: reconsider
UPDATE requests SET state = 'seen', reason = '', updated_at = :now
WHERE expires_at >= :chain_time AND state IN ('skipped', 'failed') AND (state = 'skipped'
    OR split_part(reason, ':', 1) IN (SELECT json_array_elements_text(CAST(:codes AS json))));

-- name: next_job
SELECT * FROM jobs
WHERE state = 'queued' AND payee = :payee
  -- No wait is as long as that: a clock that was ahead said so.
  AND (not_before <= :now OR not_before > :latest)
  AND (CAST(:bundles AS json) IS NULL
       OR bundle_id IN (SELECT json_array_elements_text(CAST(:bundles AS json))))
ORDER BY created_at, rowid LIMIT 1;

-- name: sightings
-- With the proof that answered it, if one did; else the one that is to.
SELECT requests.request_id, requests.model_id, requests.state, requests.reason, requests.input,
    requests.block_number, requests.log_index, requests.seen_at, requests.updated_at,
    jobs.prove_time, jobs.size, jobs.outputs, named.position,
    EXISTS (SELECT 1 FROM job_requests AS more
            WHERE more.job_id = jobs.job_id AND more.position = 1) AS joined,
    (SELECT history.reason FROM history
     WHERE history.request_id = requests.request_id AND history.state = 'mined'
     ORDER BY history.at DESC LIMIT 1) AS mined,
    (SELECT transactions.hash FROM intent_requests JOIN transactions USING (intent_id)
     WHERE intent_requests.request_id = requests.request_id
     ORDER BY transactions.created_at DESC LIMIT 1) AS sent
FROM requests
LEFT JOIN jobs ON jobs.job_id = coalesce(
    (SELECT nullif(intents.job_id, '') FROM intent_requests JOIN intents USING (intent_id)
     WHERE intent_requests.request_id = requests.request_id AND intents.state IN ('mined', 'final')
     ORDER BY intents.intent_id DESC LIMIT 1), requests.job_id)
LEFT JOIN job_requests AS named
    ON named.job_id = jobs.job_id AND named.request_id = requests.request_id
WHERE requests.request_id IN (SELECT json_array_elements_text(CAST(:ids AS json)))
ORDER BY requests.block_number DESC, requests.log_index DESC, requests.request_id DESC;
