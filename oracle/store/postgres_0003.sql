-- What stands in a node's way now: SQLite's version 6, whose file says what it means.

CREATE TABLE troubles (
    node_id TEXT NOT NULL REFERENCES nodes (node_id) ON DELETE CASCADE,
    subject TEXT NOT NULL,
    code    TEXT NOT NULL,
    detail  TEXT NOT NULL,
    since   DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (node_id, subject)
);
