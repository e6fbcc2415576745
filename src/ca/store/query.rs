//! What is read from the store. Within a change, the same questions see what it has written.

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use crate::ca::{
    CertificateKind, CertificateRecord, CredentialUsage, CrlRecord, Entity, EntityState, IssuedCertificate, IssuerId,
    Revocation, StoredCrl, Timestamp,
};
use crate::identity::TrustDomain;
use crate::x509::SerialNumber;

/// The counters of a store. A version is that of the change that last touched the thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreState {
    /// Whom the authority issues for.
    pub trust_domain: TrustDomain,
    /// Counts every change.
    pub version: i64,
    /// Of the last revocation.
    pub revoked_version: i64,
    /// Of the last CRL.
    pub crls_version: i64,
    /// Of the last change of the trust anchors.
    pub anchors_version: i64,
    /// Of the last change of a registration.
    pub entities_version: i64,
    /// The oldest generation of the authority whose anchor is published.
    pub oldest_generation: u32,
    /// The generation that issues.
    pub issuing_generation: u32,
    /// The newest generation; later than the one that issues while a rotation has only begun.
    pub newest_generation: u32,
    /// Entries of the log.
    pub log_entries: i64,
    /// The digest of the last of them.
    pub log_head: String,
}

/// Which certificates are listed.
#[derive(Debug, Clone, Default)]
pub struct CertificateFilter {
    /// Only those of this name.
    pub name: Option<String>,
    /// Only those that have not ended and are not revoked at this time.
    pub valid_at: Option<Timestamp>,
    /// The authority's own certificates too.
    pub own: bool,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogEntry {
    /// Counted from 1.
    pub entry: i64,
    /// When.
    #[serde(with = "crate::ca::as_text")]
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What, such as `issued`.
    pub action: String,
    /// Whom or what it concerns.
    pub subject: String,
    /// Why, and what else there is to say.
    pub detail: String,
    /// The digest of this entry and, through the one before, of all earlier ones.
    pub sha256: String,
}

/// A one-time secret, without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRecord {
    /// Whose.
    pub name: String,
    /// Until when it can be used.
    pub expires: Timestamp,
    /// When it was used.
    pub used_at: Option<Timestamp>,
}

/// The complete CRL that a delta CRL starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ca) struct DeltaBase {
    pub(in crate::ca) number: u64,
    /// Of the change that recorded it.
    pub(in crate::ca) version: i64,
}

/// What there is, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreFigures {
    /// Certificates of services that are valid.
    pub valid: i64,
    /// Those among them that end within the given time.
    pub expiring: i64,
    /// Names that are registered and active.
    pub active: i64,
    /// Names that are suspended.
    pub suspended: i64,
}

const CERTIFICATE: &str = "serial, kind, issuer, name, spiffe, dns, ip, not_before, not_after, sha256, revoked_at, \
                           revoked_reason";

pub(super) const STATE: &str = "trust_domain, version, revoked_version, crls_version, anchors_version, \
     entities_version, oldest_generation, issuing_generation, newest_generation, log_entries, log_head";

/// SQL put together of constants of this program alone.
macro_rules! sql {
    ($($part:expr),+ $(,)?) => { sqlx::AssertSqlSafe([$($part),+].concat()) };
}
pub(super) use sql;

/// How many migrations were carried out.
pub(super) async fn schema_version(connection: &mut AnyConnection) -> sqlx::Result<usize> {
    let row = sqlx::query("SELECT version FROM schema_version").fetch_optional(connection).await?;
    row.map_or(Ok(0), |row| Ok(usize::try_from(row.try_get::<i64, _>("version")?).unwrap_or(usize::MAX)))
}

pub(super) async fn state(connection: &mut AnyConnection) -> sqlx::Result<StoreState> {
    state_of(&sqlx::query(sql!("SELECT ", STATE, " FROM state WHERE id = 1")).fetch_one(connection).await?)
}

pub(super) fn state_of(row: &AnyRow) -> sqlx::Result<StoreState> {
    Ok(StoreState {
        trust_domain: parsed(row, "trust_domain")?,
        version: row.try_get("version")?,
        revoked_version: row.try_get("revoked_version")?,
        crls_version: row.try_get("crls_version")?,
        anchors_version: row.try_get("anchors_version")?,
        entities_version: row.try_get("entities_version")?,
        oldest_generation: number(row, "oldest_generation")?,
        issuing_generation: number(row, "issuing_generation")?,
        newest_generation: number(row, "newest_generation")?,
        log_entries: row.try_get("log_entries")?,
        log_head: row.try_get("log_head")?,
    })
}

/// The certificate with this serial number.
pub(in crate::ca) async fn certificate(
    connection: &mut AnyConnection,
    serial: &SerialNumber,
) -> sqlx::Result<Option<CertificateRecord>> {
    let sql = sql!("SELECT ", CERTIFICATE, " FROM certificates WHERE serial = $1");
    let row = sqlx::query(sql).bind(serial.to_string()).fetch_optional(connection).await?;
    row.as_ref().map(certificate_of).transpose()
}

/// The certificate whose DER has this SHA-256.
pub(in crate::ca) async fn certificate_by_digest(
    connection: &mut AnyConnection,
    sha256: &str,
) -> sqlx::Result<Option<CertificateRecord>> {
    let sql = sql!("SELECT ", CERTIFICATE, " FROM certificates WHERE sha256 = $1");
    let row = sqlx::query(sql).bind(sha256).fetch_optional(connection).await?;
    row.as_ref().map(certificate_of).transpose()
}

/// Certificates in the order of issuance.
pub(in crate::ca) async fn certificates(
    connection: &mut AnyConnection,
    filter: &CertificateFilter,
) -> sqlx::Result<Vec<CertificateRecord>> {
    let sql = sql!(
        "SELECT ",
        CERTIFICATE,
        " FROM certificates WHERE ($1 = '' OR name = $1) AND ($2 = 0 OR (not_after > $2 AND revoked_at IS NULL)) ",
        "AND ($3 = 1 OR kind IN ('end_entity', 'bootstrap')) ORDER BY position, serial",
    );
    let query = sqlx::query(sql)
        .bind(filter.name.as_deref().unwrap_or(""))
        .bind(filter.valid_at.map_or(0, Timestamp::to_unix))
        .bind(i64::from(filter.own));
    query.fetch_all(connection).await?.iter().map(certificate_of).collect()
}

/// The certificate of a name, other than this one, that was issued last of those that are valid still.
pub(in crate::ca) async fn latest_valid(
    connection: &mut AnyConnection,
    than: &IssuedCertificate,
    now: Timestamp,
) -> sqlx::Result<Option<CertificateRecord>> {
    let sql = sql!(
        "SELECT ",
        CERTIFICATE,
        " FROM certificates WHERE name = $1 AND kind = $2 AND serial <> $3 AND not_after > $4 AND revoked_at IS NULL ",
        "ORDER BY position DESC LIMIT 1",
    );
    let query =
        sqlx::query(sql).bind(&than.name).bind(than.kind.as_str()).bind(than.serial.to_string()).bind(now.to_unix());
    query.fetch_optional(connection).await?.as_ref().map(certificate_of).transpose()
}

/// What an issuer's CRL must list. An expired certificate leaves it once it was on a CRL signed after its end (RFC 5280
/// section 3.3), of which the last one's date decides.
pub(in crate::ca) async fn revoked_by(
    connection: &mut AnyConnection,
    issuer: IssuerId,
    last_update: Option<Timestamp>,
) -> sqlx::Result<Vec<(SerialNumber, Revocation)>> {
    let query = sqlx::query(
        "SELECT serial, revoked_at, revoked_reason FROM certificates WHERE issuer = $1 AND revoked_at IS NOT NULL \
         AND (not_after >= $2 OR revoked_at >= $2) ORDER BY revoked_at, serial",
    );
    let rows =
        query.bind(issuer.to_string()).bind(last_update.map_or(0, Timestamp::to_unix)).fetch_all(connection).await?;
    rows.iter().map(crl_entry_of).collect()
}

/// What an issuer's delta CRL must list: everything since the complete one that it starts from, whatever has expired since (RFC
/// 5280 section 5.2.4).
pub(in crate::ca) async fn revoked_since(
    connection: &mut AnyConnection,
    issuer: IssuerId,
    base: DeltaBase,
) -> sqlx::Result<Vec<(SerialNumber, Revocation)>> {
    let query = sqlx::query(
        "SELECT serial, revoked_at, revoked_reason FROM certificates WHERE issuer = $1 AND revoked_at IS NOT NULL \
         AND revoked_version > $2 ORDER BY revoked_at, serial",
    );
    let rows = query.bind(issuer.to_string()).bind(base.version).fetch_all(connection).await?;
    rows.iter().map(crl_entry_of).collect()
}

/// True where certificates of an issuer were revoked after its last CRL was signed, complete or delta, or it has none.
pub(super) async fn lacks_revocations(connection: &mut AnyConnection, issuer: IssuerId) -> sqlx::Result<bool> {
    let query = sqlx::query(
        "SELECT version FROM crls WHERE issuer = $1 UNION ALL SELECT version FROM delta_crls WHERE issuer = $1 \
         ORDER BY version DESC LIMIT 1",
    );
    let last = query.bind(issuer.to_string()).fetch_optional(&mut *connection).await?;
    let version: i64 = last.map_or(Ok(0), |row| row.try_get("version"))?;
    if version == 0 {
        // There is none, or it came from a ledger and what it lacks is not known.
        return Ok(true);
    }
    let query = sqlx::query(
        "SELECT serial FROM certificates WHERE issuer = $1 AND revoked_at IS NOT NULL AND revoked_version > $2 LIMIT 1",
    );
    Ok(query.bind(issuer.to_string()).bind(version).fetch_optional(connection).await?.is_some())
}

/// How many certificates of services, issued by this generation, are valid, and when the last of them ends.
pub(in crate::ca) async fn valid_of_generation(
    connection: &mut AnyConnection,
    issuers: [IssuerId; 2],
    now: Timestamp,
) -> sqlx::Result<(i64, Option<Timestamp>)> {
    let query = sqlx::query(
        "SELECT COUNT(*) AS valid, MAX(not_after) AS ends FROM certificates WHERE issuer IN ($1, $2) \
         AND not_after > $3 AND revoked_at IS NULL AND kind IN ('end_entity', 'bootstrap')",
    );
    let [first, second] = issuers;
    let row = query.bind(first.to_string()).bind(second.to_string()).bind(now.to_unix()).fetch_one(connection).await?;
    let ends: Option<i64> = row.try_get("ends")?;
    Ok((row.try_get("valid")?, ends.map(Timestamp::from_unix)))
}

/// The authority's own certificates, in DER.
pub(in crate::ca) async fn issuers(connection: &mut AnyConnection) -> sqlx::Result<Vec<(IssuerId, Vec<u8>)>> {
    let rows = sqlx::query("SELECT issuer, der FROM issuers").fetch_all(connection).await?;
    let mut issuers = rows
        .iter()
        .map(|row| Ok((parsed(row, "issuer")?, octets(row, "der")?)))
        .collect::<sqlx::Result<Vec<(IssuerId, Vec<u8>)>>>()?;
    issuers.sort_by_key(|(issuer, _)| *issuer);
    Ok(issuers)
}

/// The last CRL of an issuer.
pub(in crate::ca) async fn crl(connection: &mut AnyConnection, issuer: IssuerId) -> sqlx::Result<Option<StoredCrl>> {
    let query =
        sqlx::query("SELECT issuer, number, this_update, next_update, entries, der FROM crls WHERE issuer = $1");
    query.bind(issuer.to_string()).fetch_optional(connection).await?.as_ref().map(crl_of).transpose()
}

/// The number and dates of an issuer's last complete CRL, and itself as what a delta CRL starts from.
pub(in crate::ca) async fn complete_record(
    connection: &mut AnyConnection,
    issuer: IssuerId,
) -> sqlx::Result<Option<(CrlRecord, DeltaBase)>> {
    let query = sqlx::query("SELECT issuer, number, this_update, next_update, version FROM crls WHERE issuer = $1");
    let row = query.bind(issuer.to_string()).fetch_optional(connection).await?;
    let read = |row: AnyRow| {
        let record = record_of(&row)?;
        Ok((record, DeltaBase { number: record.number, version: row.try_get("version")? }))
    };
    row.map(read).transpose()
}

/// The number and dates of an issuer's last delta CRL, and what it starts from.
pub(in crate::ca) async fn delta_record(
    connection: &mut AnyConnection,
    issuer: IssuerId,
) -> sqlx::Result<Option<(CrlRecord, DeltaBase)>> {
    let query = sqlx::query(
        "SELECT issuer, number, base_number, base_version, this_update, next_update FROM delta_crls WHERE issuer = $1",
    );
    let row = query.bind(issuer.to_string()).fetch_optional(connection).await?;
    let read = |row: AnyRow| {
        let base = DeltaBase { number: number(&row, "base_number")?, version: row.try_get("base_version")? };
        Ok((CrlRecord { base_number: Some(base.number), ..record_of(&row)? }, base))
    };
    row.map(read).transpose()
}

/// The last CRL of each issuer, and then the last delta CRLs.
pub(in crate::ca) async fn crls(connection: &mut AnyConnection) -> sqlx::Result<Vec<StoredCrl>> {
    let complete = sqlx::query("SELECT issuer, number, this_update, next_update, entries, der FROM crls");
    let deltas =
        sqlx::query("SELECT issuer, number, base_number, this_update, next_update, entries, der FROM delta_crls");
    let (complete, deltas) = (complete.fetch_all(&mut *connection).await?, deltas.fetch_all(connection).await?);
    let deltas = deltas.iter().map(|row| {
        let mut delta = crl_of(row)?;
        delta.record.base_number = Some(number(row, "base_number")?);
        Ok(delta)
    });
    let mut crls: Vec<StoredCrl> = complete.iter().map(crl_of).chain(deltas).collect::<sqlx::Result<_>>()?;
    crls.sort_by_key(|crl| (crl.record.base_number.is_some(), crl.record.issuer));
    Ok(crls)
}

const ENTITY: &str = "name, spiffe, dns, ip, purpose, max_ttl, expires, state, created, version";

/// The registration of a name.
pub(in crate::ca) async fn entity(connection: &mut AnyConnection, name: &str) -> sqlx::Result<Option<Entity>> {
    let row = sqlx::query(sql!("SELECT ", ENTITY, " FROM entities WHERE name = $1"))
        .bind(name)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(entity_of).transpose()
}

/// Every registration, removed ones included, by name.
pub(in crate::ca) async fn entities(connection: &mut AnyConnection) -> sqlx::Result<Vec<Entity>> {
    let rows = sqlx::query(sql!("SELECT ", ENTITY, " FROM entities ORDER BY name")).fetch_all(connection).await?;
    rows.iter().map(entity_of).collect()
}

/// The one-time secrets of a name, the latest first.
pub(in crate::ca) async fn secrets_of(connection: &mut AnyConnection, name: &str) -> sqlx::Result<Vec<SecretRecord>> {
    let query = sqlx::query("SELECT name, expires, used_at FROM secrets WHERE name = $1 ORDER BY created DESC");
    query.bind(name).fetch_all(connection).await?.iter().map(secret_of).collect()
}

/// The one-time secret with this digest.
pub(super) async fn secret(connection: &mut AnyConnection, sha256: &str) -> sqlx::Result<Option<SecretRecord>> {
    let query = sqlx::query("SELECT name, expires, used_at FROM secrets WHERE sha256 = $1");
    query.bind(sha256).fetch_optional(connection).await?.as_ref().map(secret_of).transpose()
}

/// What the server was configured with.
pub(in crate::ca) async fn setting(connection: &mut AnyConnection, name: &str) -> sqlx::Result<Option<String>> {
    let row = sqlx::query("SELECT value FROM settings WHERE name = $1").bind(name).fetch_optional(connection).await?;
    row.map(|row| row.try_get("value")).transpose()
}

/// Entries of the log after the given one, the earliest first.
pub(in crate::ca) async fn log_entries(
    connection: &mut AnyConnection,
    after: i64,
    most: i64,
) -> sqlx::Result<Vec<LogEntry>> {
    let query = sqlx::query(
        "SELECT entry, at, actor, action, subject, detail, sha256 FROM log WHERE entry > $1 ORDER BY entry LIMIT $2",
    );
    let entry = |row: &AnyRow| {
        Ok(LogEntry {
            entry: row.try_get("entry")?,
            at: time(row, "at")?,
            actor: row.try_get("actor")?,
            action: row.try_get("action")?,
            subject: row.try_get("subject")?,
            detail: row.try_get("detail")?,
            sha256: row.try_get("sha256")?,
        })
    };
    query.bind(after).bind(most).fetch_all(connection).await?.iter().map(entry).collect()
}

/// What there is, counted.
pub(in crate::ca) async fn figures(connection: &mut AnyConnection, now: Timestamp) -> sqlx::Result<StoreFigures> {
    let query = sqlx::query(
        "SELECT COUNT(*) AS valid, COUNT(CASE WHEN (not_after - $1) * 4 <= not_after - not_before THEN 1 END) AS expiring FROM certificates \
         WHERE not_after > $1 AND revoked_at IS NULL AND kind = 'end_entity'",
    );
    let row = query.bind(now.to_unix()).fetch_one(&mut *connection).await?;
    let registered = sqlx::query(
        "SELECT COUNT(CASE WHEN state = 'active' THEN 1 END) AS active, \
         COUNT(CASE WHEN state = 'suspended' THEN 1 END) AS suspended FROM entities",
    )
    .fetch_one(connection)
    .await?;
    Ok(StoreFigures {
        valid: row.try_get("valid")?,
        expiring: row.try_get("expiring")?,
        active: registered.try_get("active")?,
        suspended: registered.try_get("suspended")?,
    })
}

fn certificate_of(row: &AnyRow) -> sqlx::Result<CertificateRecord> {
    read_certificate(row).map_err(|error| in_row(row, "certificates", "serial", error))
}

fn read_certificate(row: &AnyRow) -> sqlx::Result<CertificateRecord> {
    let kind: String = row.try_get("kind")?;
    let certificate = IssuedCertificate {
        serial: parsed(row, "serial")?,
        kind: CertificateKind::from_stored(&kind).ok_or_else(|| strange("kind", &kind))?,
        issuer: parsed(row, "issuer")?,
        name: row.try_get("name")?,
        spiffe: parsed(row, "spiffe")?,
        dns: words(row, "dns")?,
        ip: addresses(row)?,
        not_before: time(row, "not_before")?,
        not_after: time(row, "not_after")?,
        sha256: row.try_get("sha256")?,
    };
    Ok(CertificateRecord { certificate, revocation: revocation_of(row)? })
}

fn revocation_of(row: &AnyRow) -> sqlx::Result<Option<Revocation>> {
    let Some(at) = row.try_get::<Option<i64>, _>("revoked_at")? else { return Ok(None) };
    Ok(Some(Revocation { at: Timestamp::from_unix(at), reason: parsed(row, "revoked_reason")? }))
}

fn crl_of(row: &AnyRow) -> sqlx::Result<StoredCrl> {
    Ok(StoredCrl { record: record_of(row)?, entries: number(row, "entries")?, der: octets(row, "der")? })
}

/// As of a complete CRL.
fn record_of(row: &AnyRow) -> sqlx::Result<CrlRecord> {
    Ok(CrlRecord {
        issuer: parsed(row, "issuer")?,
        number: number(row, "number")?,
        base_number: None,
        this_update: time(row, "this_update")?,
        next_update: time(row, "next_update")?,
    })
}

fn crl_entry_of(row: &AnyRow) -> sqlx::Result<(SerialNumber, Revocation)> {
    Ok((parsed(row, "serial")?, revocation_of(row)?.ok_or(sqlx::Error::RowNotFound)?))
}

fn entity_of(row: &AnyRow) -> sqlx::Result<Entity> {
    read_entity(row).map_err(|error| in_row(row, "entities", "name", error))
}

fn read_entity(row: &AnyRow) -> sqlx::Result<Entity> {
    let (state, purpose): (String, String) = (row.try_get("state")?, row.try_get("purpose")?);
    let max_ttl: Option<i64> = row.try_get("max_ttl")?;
    let expires: Option<i64> = row.try_get("expires")?;
    let dns: Vec<String> = words(row, "dns")?;
    let dns = dns.iter().map(|name| name.parse().map_err(|_| strange("dns", name)));
    Ok(Entity {
        name: parsed(row, "name")?,
        spiffe: parsed(row, "spiffe")?,
        dns: dns.collect::<sqlx::Result<_>>()?,
        ip: addresses(row)?,
        usage: CredentialUsage::from_stored(&purpose).ok_or_else(|| strange("purpose", &purpose))?,
        max_ttl: max_ttl.map(|seconds| Duration::from_secs(seconds.unsigned_abs())),
        expires: expires.map(Timestamp::from_unix),
        state: EntityState::from_stored(&state).ok_or_else(|| strange("state", &state))?,
        created: time(row, "created")?,
        version: row.try_get("version")?,
    })
}

fn secret_of(row: &AnyRow) -> sqlx::Result<SecretRecord> {
    let used_at: Option<i64> = row.try_get("used_at")?;
    Ok(SecretRecord {
        name: row.try_get("name")?,
        expires: time(row, "expires")?,
        used_at: used_at.map(Timestamp::from_unix),
    })
}

fn addresses(row: &AnyRow) -> sqlx::Result<Vec<IpAddr>> {
    words(row, "ip")?.iter().map(|text| text.parse().map_err(|_| strange("ip", text))).collect()
}

fn time(row: &AnyRow, column: &'static str) -> sqlx::Result<Timestamp> {
    Ok(Timestamp::from_unix(row.try_get(column)?))
}

fn number<T: TryFrom<i64>>(row: &AnyRow, column: &'static str) -> sqlx::Result<T> {
    let value: i64 = row.try_get(column)?;
    T::try_from(value).map_err(|_| strange(column, &value))
}

fn words(row: &AnyRow, column: &'static str) -> sqlx::Result<Vec<String>> {
    Ok(row.try_get::<String, _>(column)?.split_whitespace().map(str::to_owned).collect())
}

fn octets(row: &AnyRow, column: &'static str) -> sqlx::Result<Vec<u8>> {
    STANDARD.decode(row.try_get::<String, _>(column)?).map_err(|error| strange(column, &error))
}

fn parsed<T: FromStr>(row: &AnyRow, column: &'static str) -> sqlx::Result<T> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|_| strange(column, &text))
}

/// Names the row in which a value is out of place.
fn in_row(row: &AnyRow, table: &str, key: &str, error: sqlx::Error) -> sqlx::Error {
    match error {
        sqlx::Error::ColumnDecode { index, source } => {
            let value: String = row.try_get(key).unwrap_or_default();
            sqlx::Error::ColumnDecode { index: format!("{index} of {table}, {key} \"{value}\""), source }
        }
        other => other,
    }
}

/// A value that no version of this program writes.
fn strange(column: &'static str, value: &dyn Display) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: format!("\"{value}\" is out of place").into() }
}
