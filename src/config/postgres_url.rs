//! Where a database is.

use std::fmt;
use std::net::IpAddr;

use url::Url;

/// The address of a `PostgreSQL` database, which may hold a password. `Display` and `Debug` leave that out.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(Url);

/// A text that is no [`PostgresUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostgresUrlError {
    /// Something else.
    #[error("is no address of a PostgreSQL database: expected \"postgres://USER@HOST/DATABASE\"")]
    Malformed,
    /// The connection would be in plaintext over a network.
    #[error(
        "leads to {host:?} over a network, and the connection is in plaintext: expected a loopback address or \
         \"?host=/FOLDER\" of a Unix socket, such as that of a mantlet beside it"
    )]
    Plaintext {
        /// The host.
        host: String,
    },
    /// The environment would say where it leads.
    #[error(
        "names no host, so that PGHOSTADDR or PGHOST of the environment would: expected a host or \"?host=/FOLDER\""
    )]
    NoHost,
    /// TLS is asked for.
    #[error(
        "asks for TLS by \"{parameter}\", and the connection is in plaintext: expected none of sslmode's values but \
         \"disable\", and a mantlet beside it for a database elsewhere"
    )]
    Tls {
        /// The parameter's name.
        parameter: String,
    },
}

/// Where the driver connects to.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// A folder of this host.
    Socket,
    Host(String),
    /// Whatever the environment says.
    Environment,
}

impl PostgresUrl {
    /// Reads an address, whose host must be this one: not only by what stands before the path, but by the parameters after it
    /// that take its place.
    ///
    /// # Errors
    /// Where the driver would connect elsewhere, or where the environment would decide.
    pub fn on_this_host(text: &str) -> Result<Self, PostgresUrlError> {
        let url = Self::on_any_host(text)?;
        match url.target() {
            Target::Socket => Ok(url),
            Target::Host(host) if is_this_host(&host) => Ok(url),
            Target::Host(host) => Err(PostgresUrlError::Plaintext { host }),
            Target::Environment => Err(PostgresUrlError::NoHost),
        }
    }

    /// Reads an address, wherever it leads: the connection is in plaintext.
    ///
    /// # Errors
    /// What is no address, or one that asks for TLS.
    pub fn on_any_host(text: &str) -> Result<Self, PostgresUrlError> {
        let url: Url = text.parse().map_err(|_| PostgresUrlError::Malformed)?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(PostgresUrlError::Malformed);
        }
        // Those that fall back to plaintext promise what they do not keep.
        let tls = url.query_pairs().find(|(key, value)| match &**key {
            "sslmode" | "ssl-mode" => !value.eq_ignore_ascii_case("disable"),
            key => key.starts_with("ssl"),
        });
        if let Some((key, _)) = tls {
            // The value may be the password of a key.
            return Err(PostgresUrlError::Tls { parameter: key.into_owned() });
        }
        Ok(Self(url))
    }

    /// The whole address, password included.
    pub fn reveal(&self) -> &str {
        self.0.as_str()
    }

    /// As the driver reads it: a parameter takes the place of what stands before the path, the last one counts, and a folder
    /// comes before every host.
    fn target(&self) -> Target {
        // A special character in a Unix socket's folder is percent-encoded.
        let of_authority = self.0.host_str().filter(|host| !host.is_empty()).map(|host| match host.get(..3) {
            Some(start) if start.eq_ignore_ascii_case("%2f") => "/".to_owned(),
            _ => host.to_owned(),
        });
        let parameters = self.0.query_pairs().filter(|(key, _)| matches!(&**key, "host" | "hostaddr"));
        let named: Vec<String> =
            of_authority.into_iter().chain(parameters.map(|(_, host)| host.into_owned())).collect();
        if named.iter().any(|host| host.starts_with('/')) {
            return Target::Socket;
        }
        named.into_iter().next_back().map_or(Target::Environment, Target::Host)
    }
}

fn is_this_host(host: &str) -> bool {
    // The library for addresses takes a host of this scheme for a name, whatever it looks like.
    let bare = host.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        // Neither can fail for an address of this scheme that has a host, and without a host there is no password.
        let _ = shown.set_password(None);
        shown.set_query(None);
        shown.fmt(f)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stays_on_this_host_by_what_the_driver_makes_of_it() {
        for text in [
            "postgres://ca@localhost/ca",
            "postgres://ca@127.0.0.7:5433/ca",
            "postgresql://ca@[::1]/ca?sslmode=disable",
            "postgres:///ca?host=/run/postgresql",
            "postgres://ca@%2Frun%2Fpostgresql/ca",
            "postgres://ca@db.internal/ca?host=127.0.0.1",
        ] {
            assert!(PostgresUrl::on_this_host(text).is_ok(), "{text}");
        }
        for (text, host) in [
            ("postgres://ca@db.internal/ca", "db.internal"),
            ("postgres://ca@localhost/ca?host=db.internal", "db.internal"),
            ("postgres://ca@localhost/ca?hostaddr=10.0.0.7", "10.0.0.7"),
            ("postgres://ca@localhost/ca?host=127.0.0.1&host=db.internal", "db.internal"),
            ("postgres://ca@127.0.0.1/ca?%68ost=db.internal", "db.internal"),
            ("postgres://ca@localhost.evil/ca", "localhost.evil"),
            ("postgres:///ca?host=", ""),
        ] {
            let host = host.to_owned();
            assert_eq!(PostgresUrl::on_this_host(text), Err(PostgresUrlError::Plaintext { host }), "{text}");
        }
        let refusal = PostgresUrl::on_this_host("postgres:///ca").expect_err("led by the environment").to_string();
        assert!(refusal.starts_with("names no host, so that PGHOSTADDR or PGHOST"), "{refusal}");
    }

    #[test]
    fn tls_that_would_not_be_spoken_is_refused_wherever_the_address_leads() {
        for parameter in ["sslmode=require", "ssl-mode=verify-full", "sslmode=prefer", "sslpassword=hush", "ssl-ca=x"] {
            let (key, value) = parameter.split_once('=').expect("a parameter");
            let refusal = PostgresUrl::on_any_host(&format!("postgres://ca@db.internal/ca?{parameter}"));
            let refusal = refusal.expect_err(parameter).to_string();
            assert!(refusal.starts_with(&format!("asks for TLS by \"{key}\"")), "{refusal}");
            assert!(!refusal.contains(&format!("={value}")) && !refusal.contains("hush"), "{refusal}");
        }
    }
}
