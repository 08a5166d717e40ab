-- What transactions that are final cost and brought, by day, model and how they ended.

CREATE TABLE earnings (
    -- Days since the epoch (UTC) at which they became final.
    day          INTEGER NOT NULL,
    -- Empty for a transaction that answers nothing, such as one that uses up a nonce.
    model_id     TEXT    NOT NULL,
    result       TEXT    NOT NULL,
    transactions INTEGER NOT NULL,
    -- Those that they answered.
    requests     INTEGER NOT NULL,
    gas          INTEGER NOT NULL,
    -- Wei, in whole gwei and what is left: sums of either fit 64 bits.
    spent_gwei   INTEGER NOT NULL,
    spent_wei    INTEGER NOT NULL,
    fees_gwei    INTEGER NOT NULL,
    fees_wei     INTEGER NOT NULL,
    refunds_gwei INTEGER NOT NULL,
    refunds_wei  INTEGER NOT NULL,
    PRIMARY KEY (day, model_id, result)
) STRICT, WITHOUT ROWID;
