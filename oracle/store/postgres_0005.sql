-- What final transactions cost and brought, by day and model: SQLite's version 8, whose file says
-- what each column means.

CREATE TABLE earnings (
    day          BIGINT NOT NULL,
    model_id     TEXT   NOT NULL,
    result       TEXT   NOT NULL,
    transactions BIGINT NOT NULL,
    requests     BIGINT NOT NULL,
    gas          BIGINT NOT NULL,
    spent_gwei   BIGINT NOT NULL,
    spent_wei    BIGINT NOT NULL,
    fees_gwei    BIGINT NOT NULL,
    fees_wei     BIGINT NOT NULL,
    refunds_gwei BIGINT NOT NULL,
    refunds_wei  BIGINT NOT NULL,
    PRIMARY KEY (day, model_id, result)
);
