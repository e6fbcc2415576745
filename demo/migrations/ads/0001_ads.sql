-- Both databases that the flea market knows, SQLite and PostgreSQL, understand every statement of these migrations.
CREATE TABLE ads (
    id BIGINT PRIMARY KEY,
    -- The subject of the seller's tokens; who that is, UserService knows.
    seller_id TEXT NOT NULL,
    title TEXT NOT NULL,
    category TEXT NOT NULL,
    price_cents BIGINT NOT NULL CHECK (price_cents >= 0),
    latitude DOUBLE PRECISION NOT NULL CHECK (latitude BETWEEN -90 AND 90),
    longitude DOUBLE PRECISION NOT NULL CHECK (longitude BETWEEN -180 AND 180)
);

CREATE INDEX ads_by_position ON ads (latitude, longitude);

-- One row that hands out the numbers of new ads: identity columns are spelt differently by each database.
CREATE TABLE ad_numbers (
    next_id BIGINT NOT NULL
);

INSERT INTO ad_numbers (next_id) VALUES (1);
