-- What the node did, counted for good: SQLite's version 5, whose file says what it means.

CREATE TABLE totals (
    name   TEXT NOT NULL,
    label  TEXT NOT NULL,
    amount DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (name, label)
);

ALTER TABLE cursor ADD COLUMN block_timestamp BIGINT NOT NULL DEFAULT 0;
CREATE INDEX intents_pending ON intents (created_at) WHERE state = 'pending';
