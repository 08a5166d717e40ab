-- What stands in a node's way now, for whoever asks how it does.

CREATE TABLE troubles (
    node_id TEXT NOT NULL REFERENCES nodes (node_id) ON DELETE CASCADE,
    -- A service, or an endpoint without what is secret in its address.
    subject TEXT NOT NULL,
    code    TEXT NOT NULL,
    detail  TEXT NOT NULL,
    since   REAL NOT NULL,
    PRIMARY KEY (node_id, subject)
) STRICT, WITHOUT ROWID;
