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
