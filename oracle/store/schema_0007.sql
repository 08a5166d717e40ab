-- What was given up is looked at at every step, for the chain may still take an answer.

CREATE INDEX requests_expired ON requests (expires_at) WHERE state = 'expired';
