-- The newest requests of one model in one state, for whoever looks through them.

CREATE INDEX requests_by_model ON requests (model_id, state, block_number, log_index, request_id);
