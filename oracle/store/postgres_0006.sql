-- The newest requests of one model in one state: SQLite's version 9, whose file says for whom.

CREATE INDEX requests_by_model ON requests (model_id, state, block_number, log_index, request_id);
