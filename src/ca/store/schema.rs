//! The tables, and how a database of an earlier version gets them.
//!
//! The SQL is what `SQLite` and `PostgreSQL` have in common. A migration is never changed once it was released: the next one is
//! added at the end.

/// Every migration, each a list of statements. Their count is the version of the schema.
pub(super) const MIGRATIONS: &[&[&str]] = &[FIRST, DELTA_CRLS];

/// Where the version of the schema stands. It is all that exists before the first migration.
pub(super) const VERSION_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)";

/// Times are seconds since 1970, lists are texts with a space between, octets are hexadecimal.
const FIRST: &[&str] = &[
    // One row. Whoever writes anything updates it first, which makes all writers, of every process, wait for one another.
    "CREATE TABLE state (
        id BIGINT PRIMARY KEY CHECK (id = 1),
        trust_domain TEXT NOT NULL,
        created BIGINT NOT NULL,
        version BIGINT NOT NULL,
        revoked_version BIGINT NOT NULL,
        crls_version BIGINT NOT NULL,
        anchors_version BIGINT NOT NULL,
        entities_version BIGINT NOT NULL,
        oldest_generation BIGINT NOT NULL,
        issuing_generation BIGINT NOT NULL,
        newest_generation BIGINT NOT NULL,
        log_entries BIGINT NOT NULL,
        log_head TEXT NOT NULL
    )",
    // The authority's own certificates, so that every replica publishes the same ones. Keys are files.
    "CREATE TABLE issuers (
        issuer TEXT PRIMARY KEY,
        der TEXT NOT NULL
    )",
    "CREATE TABLE certificates (
        serial TEXT PRIMARY KEY,
        position BIGINT NOT NULL,
        kind TEXT NOT NULL,
        issuer TEXT NOT NULL,
        name TEXT NOT NULL,
        spiffe TEXT NOT NULL,
        dns TEXT NOT NULL,
        ip TEXT NOT NULL,
        not_before BIGINT NOT NULL,
        not_after BIGINT NOT NULL,
        sha256 TEXT NOT NULL,
        revoked_at BIGINT,
        revoked_reason TEXT
    )",
    "CREATE UNIQUE INDEX certificates_by_sha256 ON certificates (sha256)",
    "CREATE INDEX certificates_by_name ON certificates (name, position)",
    "CREATE INDEX certificates_by_end ON certificates (not_after)",
    "CREATE INDEX certificates_revoked ON certificates (issuer, revoked_at) WHERE revoked_at IS NOT NULL",
    "CREATE TABLE crls (
        issuer TEXT PRIMARY KEY,
        number BIGINT NOT NULL,
        this_update BIGINT NOT NULL,
        next_update BIGINT NOT NULL,
        entries BIGINT NOT NULL,
        version BIGINT NOT NULL,
        der TEXT NOT NULL
    )",
    "CREATE TABLE entities (
        name TEXT PRIMARY KEY,
        spiffe TEXT NOT NULL,
        dns TEXT NOT NULL,
        ip TEXT NOT NULL,
        purpose TEXT NOT NULL,
        max_ttl BIGINT,
        expires BIGINT,
        state TEXT NOT NULL,
        created BIGINT NOT NULL,
        version BIGINT NOT NULL
    )",
    "CREATE TABLE secrets (
        sha256 TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        created BIGINT NOT NULL,
        expires BIGINT NOT NULL,
        used_at BIGINT
    )",
    "CREATE INDEX secrets_by_name ON secrets (name)",
    // What the server was configured with and the command line has to know.
    "CREATE TABLE settings (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    )",
    // Each entry holds the digest of the one before it.
    "CREATE TABLE log (
        entry BIGINT PRIMARY KEY,
        at BIGINT NOT NULL,
        actor TEXT NOT NULL,
        action TEXT NOT NULL,
        subject TEXT NOT NULL,
        detail TEXT NOT NULL,
        sha256 TEXT NOT NULL
    )",
];

/// What a delta CRL lists is found by the change that revoked it, since clocks differ.
const DELTA_CRLS: &[&str] = &[
    "ALTER TABLE certificates ADD COLUMN revoked_version BIGINT",
    // Which change it was is not on record: at the latest the last one that revoked anything.
    "UPDATE certificates SET revoked_version = (SELECT revoked_version FROM state WHERE id = 1) WHERE revoked_at IS NOT NULL",
    "CREATE INDEX certificates_by_revocation ON certificates (issuer, revoked_version) WHERE revoked_at IS NOT NULL",
    "CREATE TABLE delta_crls (
        issuer TEXT PRIMARY KEY,
        number BIGINT NOT NULL,
        base_number BIGINT NOT NULL,
        base_version BIGINT NOT NULL,
        this_update BIGINT NOT NULL,
        next_update BIGINT NOT NULL,
        entries BIGINT NOT NULL,
        version BIGINT NOT NULL,
        der TEXT NOT NULL
    )",
];
