-- What was given up: SQLite's version 7, whose file says what it means.

CREATE INDEX requests_expired ON requests (expires_at) WHERE state = 'expired';
