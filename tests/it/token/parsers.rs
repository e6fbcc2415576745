//! Whatever is sent, as a token or as keys, is read to its end and believed only where it is whole.

use std::sync::LazyLock;
use std::time::SystemTime;

use futures_util::FutureExt as _;
use mantlet::config::{Issuer, KeysFormat, TokenAlgorithm};
use mantlet::token::{Accepted, Issuers};
use proptest::prelude::*;

use super::rig::issuer;
use crate::support::tokens::{ISS, TokenKey, base64url, claims, jwks, this_second};

struct Known {
    issuers: Issuers,
    key: TokenKey,
    now: SystemTime,
}

fn settings() -> Issuer {
    issuer("market", ISS, TokenAlgorithm::Es256, "https://issuer.example/")
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let (key, now) = (TokenKey::p256("k1"), this_second());
    let issuers = Issuers::of_answer(settings(), jwks(&[&key]).as_bytes(), now).expect("usable");
    Known { issuers, key, now }
});

fn is_good(token: &str) -> bool {
    let verdict = KNOWN.issuers.verify(token, &Accepted::All, KNOWN.now).now_or_never();
    verdict.expect("nothing to wait for").is_ok()
}

proptest! {
    #[test]
    fn a_token_with_any_octet_changed_is_refused(place in any::<prop::sample::Index>(), other in any::<char>()) {
        let good = KNOWN.key.token(&claims(KNOWN.now));
        prop_assert!(is_good(&good));
        let place = place.index(good.len());
        prop_assume!(!good[place..].starts_with(other));
        let changed = format!("{}{other}{}", &good[..place], &good[place + 1..]);
        prop_assert!(!is_good(&changed), "{changed}");
        prop_assert!(!is_good(&good[..place]));
    }

    #[test]
    fn no_token_makes_the_reader_panic(parts in prop::collection::vec(any::<Vec<u8>>(), 0..5), text in ".{0,200}") {
        let encoded: Vec<String> = parts.iter().map(|part| base64url(part)).collect();
        prop_assert!(!is_good(&encoded.join(".")));
        prop_assert!(!is_good(&text));
    }

    #[test]
    fn no_claims_or_header_make_the_reader_panic(header in "[{}\\[\\]\",:a-z0-9]{0,60}", text in "[{}\\[\\]\",:a-z0-9]{0,60}") {
        prop_assert!(!is_good(&KNOWN.key.sign(&header, &text)));
        prop_assert!(!is_good(&KNOWN.key.sign(&KNOWN.key.header().to_string(), &text)));
    }

    #[test]
    fn no_answer_makes_the_reader_panic(octets in any::<Vec<u8>>(), text in "[{}\\[\\]\",:a-z0-9]{0,200}") {
        for format in [KeysFormat::Jwks, KeysFormat::X509] {
            let settings = Issuer { keys_format: format, ..settings() };
            for answer in [&octets[..], text.as_bytes(), format!("{{\"keys\":[{text}]}}").as_bytes()] {
                let _ = Issuers::of_answer(settings.clone(), answer, KNOWN.now);
            }
        }
    }
}
