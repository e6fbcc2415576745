-- Both databases that the flea market knows, SQLite and PostgreSQL, understand every statement of these migrations.
CREATE TABLE users (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    member_since BIGINT NOT NULL,
    rating DOUBLE PRECISION NOT NULL CHECK (rating BETWEEN 0 AND 5)
);
