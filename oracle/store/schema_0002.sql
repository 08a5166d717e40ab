-- Terms that requests carry since protocol fees exist, and top-ups of their gas money.

ALTER TABLE requests ADD COLUMN gas_units    TEXT NOT NULL DEFAULT '1';
ALTER TABLE requests ADD COLUMN protocol_bps INTEGER NOT NULL DEFAULT 0;

-- requests.gas_money has the present amount; a reorg restores the previous one.
CREATE TABLE top_ups (
    top_up_id  INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL REFERENCES requests (request_id),
    block      INTEGER NOT NULL,
    previous   TEXT NOT NULL
) STRICT;
CREATE INDEX top_ups_block ON top_ups (block);
