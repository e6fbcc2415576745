//! For how long an HTTP answer says that it is fresh (RFC 9111 section 4.2).

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES};

/// How long an answer that came at `now` is fresh from then on; nothing where it does not say.
pub(super) fn freshness(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let directives = || {
        let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(str::trim)
    };
    if directives().any(|one| one.eq_ignore_ascii_case("no-cache") || one.eq_ignore_ascii_case("no-store")) {
        return Some(Duration::ZERO);
    }
    let max_age = directives().find_map(|one| {
        let (name, value) = one.split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then(|| value.trim_matches('"').parse().unwrap_or(0))
    });
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let lifetime = match max_age {
        Some(seconds) => Some(Duration::from_secs(seconds)),
        // A date that cannot be read has passed (section 5.3).
        None => text(EXPIRES).map(|expires| {
            let from = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or(now);
            httpdate::parse_http_date(expires).ok().and_then(|at| at.duration_since(from).ok()).unwrap_or_default()
        }),
    };
    let age = text(AGE).and_then(|age| age.parse().ok()).map_or(Duration::ZERO, Duration::from_secs);
    lifetime.map(|lifetime| lifetime.saturating_sub(age))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_control_counts_before_expires_and_age_is_taken_off() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        let of = |fields: &[(&str, &str)]| {
            let name = |text: &str| http::HeaderName::try_from(text).expect("a name");
            let fields = fields.iter().map(|(field, value)| (name(field), value.parse().expect("a value")));
            freshness(&fields.collect(), now).map(|fresh| fresh.as_secs())
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("cache-control", "public, Max-Age=60")]), Some(60));
        assert_eq!(of(&[("cache-control", "max-age=60"), ("age", "45")]), Some(15));
        assert_eq!(of(&[("cache-control", "max-age=60"), ("age", "90")]), Some(0));
        assert_eq!(of(&[("cache-control", "max-age=60, no-cache")]), Some(0));
        assert_eq!(of(&[("cache-control", "max-age=soon")]), Some(0));
        let expires = ("expires", "Sun, 06 Nov 1994 09:49:37 GMT");
        assert_eq!(of(&[expires]), Some(3600));
        assert_eq!(of(&[expires, ("date", "Sun, 06 Nov 1994 09:39:37 GMT")]), Some(600));
        assert_eq!(of(&[expires, ("cache-control", "max-age=7")]), Some(7));
        assert_eq!(of(&[("expires", "0")]), Some(0));
    }
}
