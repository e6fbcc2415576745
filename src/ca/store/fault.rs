//! What a failure of the database means to the operator.

use crate::ca::CaError;

/// Primary result codes of `SQLite` (<https://sqlite.org/rescode.html>); an extended one has them in its lowest octet.
mod sqlite {
    pub(super) const BUSY: i64 = 5;
    pub(super) const READ_ONLY: i64 = 8;
    pub(super) const CORRUPT: i64 = 11;
    pub(super) const FULL: i64 = 13;
    pub(super) const NOT_A_DATABASE: i64 = 26;
    /// The memory that connections share is a file too, and there is no room for it.
    pub(super) const NO_ROOM_FOR_SHARED_MEMORY: i64 = 4874;
}

/// What was tried, where, and what became of it.
pub(super) fn of(action: &'static str, place: String, error: sqlx::Error) -> CaError {
    let code = match &error {
        // Nobody but a hand of another, or a disk, writes what cannot be read.
        sqlx::Error::ColumnDecode { index, source } => {
            return CaError::StoreCorrupt { place, reason: format!("in the column {index}: {source}") };
        }
        sqlx::Error::Database(error) => error.code().map(std::borrow::Cow::into_owned),
        _ => None,
    };
    // Codes of PostgreSQL are five characters (its manual, appendix A).
    match code.as_deref() {
        Some("53100") => return CaError::StoreFull { place },
        Some("XX001" | "XX002") => return CaError::StoreCorrupt { place, reason: error.to_string() },
        _ => {}
    }
    let code = code.and_then(|code| code.parse::<i64>().ok()).filter(|code| *code < 10_000);
    if code == Some(sqlite::NO_ROOM_FOR_SHARED_MEMORY) {
        return CaError::StoreFull { place };
    }
    match code.map(|code| code & 0xff) {
        Some(sqlite::FULL) => CaError::StoreFull { place },
        Some(sqlite::CORRUPT | sqlite::NOT_A_DATABASE) => CaError::StoreCorrupt { place, reason: plain(&error) },
        Some(sqlite::READ_ONLY) => CaError::StoreReadOnly { place },
        Some(sqlite::BUSY) => CaError::StoreBusy { place },
        _ if matches!(error, sqlx::Error::PoolTimedOut) => CaError::StoreBusy { place },
        _ => CaError::Store { action, place, source: error },
    }
}

fn plain(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        other => other.to_string(),
    }
}
