-- Both databases that the flea market knows, SQLite and PostgreSQL, understand every statement of these migrations.
CREATE TABLE users (
    -- The subject of the user's tokens, by which the whole market knows them.
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    member_since BIGINT NOT NULL,
    rating DOUBLE PRECISION NOT NULL CHECK (rating BETWEEN 0 AND 5)
);
