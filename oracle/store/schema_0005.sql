-- What the node did, counted for good: deleted rows do not take it back.

-- As exact as a metric is: amounts are floating point, wei included.
CREATE TABLE totals (
    name   TEXT NOT NULL,
    label  TEXT NOT NULL,
    amount REAL NOT NULL,
    PRIMARY KEY (name, label)
) STRICT, WITHOUT ROWID;

-- When the last block that was read was made.
ALTER TABLE cursor ADD COLUMN block_timestamp INTEGER NOT NULL DEFAULT 0;
-- For the oldest of the transactions that wait.
CREATE INDEX intents_pending ON intents (created_at) WHERE state = 'pending';
