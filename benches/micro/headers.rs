//! What is done to the header section of each request.

use divan::{Bencher, black_box};
use http::{HeaderMap, Request, Version, request};
use mantlet::config::IdentityHeader;
use mantlet::identity::PeerIdentity;
use mantlet::proxy::headers::{IdentityHeaders, Intent, check_request, ensure_trace, strip};
use mantlet::tls::Peer;
use mantlet::x509::Usage;

use crate::pki::Pki;

/// A typical request.
#[derive(Debug, Clone, Copy)]
enum Typical {
    /// The 15 fields that a browser sends.
    Browser,
    /// `Host` alone.
    Bare,
    /// Fields for one hop, named by `Connection`, and identity headers that the caller must not set.
    ConnectionNamed,
    /// A gRPC call within a trace.
    Grpc,
}

const ALL: [Typical; 4] = [Typical::Browser, Typical::Bare, Typical::ConnectionNamed, Typical::Grpc];

#[divan::bench(args = ALL, sample_size = 100, min_time = 0.5)]
fn check(bencher: Bencher, typical: Typical) {
    let (head, intent) = (typical.head(), typical.intent());
    bencher.bench_local(|| assert_eq!(check_request(black_box(&head)).expect("good"), intent));
}

#[divan::bench(args = ALL, sample_size = 100, min_time = 0.5)]
fn strip_for_one_hop(bencher: Bencher, typical: Typical) {
    bencher.with_inputs(|| typical.headers()).bench_local_refs(strip);
}

#[divan::bench(args = ALL, sample_size = 100, min_time = 0.5)]
fn trace(bencher: Bencher, typical: Typical) {
    bencher.with_inputs(|| typical.headers()).bench_local_refs(ensure_trace);
}

/// The headers that are on by default, into what the other steps leave.
#[divan::bench(args = ALL, sample_size = 100, min_time = 0.5)]
fn set_identity(bencher: Bencher, typical: Typical) {
    let identity = identity_headers();
    let stripped = || {
        let mut headers = typical.headers();
        ensure_trace(&mut headers);
        strip(&mut headers);
        headers
    };
    bencher.with_inputs(stripped).bench_local_refs(|headers| identity.set(headers));
}

fn identity_headers() -> IdentityHeaders {
    let mut pki = Pki::new();
    let (own, caller) = (pki.issue("adservice"), pki.issue("gateway"));
    let now = std::time::SystemTime::now();
    let path = pki.material(&own).verify(&caller.der, &[], Usage::Client, now).expect("good");
    let identity = PeerIdentity::Authenticated(path.end_entity.names.clone());
    let peer = Peer { identity, path: Some(path), chain: vec![caller.der] };
    IdentityHeaders::of(&peer, &[IdentityHeader::ClientCert, IdentityHeader::MantletPeer], None)
}

impl Typical {
    fn head(self) -> request::Parts {
        let (uri, version) = match self {
            Self::Grpc => ("http://adservice/fleamarket.Ads/Search", Version::HTTP_2),
            _ => ("/ads?category=bicycles&page=2", Version::HTTP_11),
        };
        let (mut head, ()) = Request::builder().uri(uri).version(version).body(()).expect("a request").into_parts();
        head.headers = self.headers();
        head
    }

    fn intent(self) -> Intent {
        match self {
            Self::Grpc => Intent::Grpc,
            _ => Intent::Exchange,
        }
    }

    fn headers(self) -> HeaderMap {
        let fields: &[(&'static str, &'static str)] = match self {
            Self::Browser => &[
                ("host", "adservice:8080"),
                ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
                ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
                ("accept-language", "en-US,en;q=0.5"),
                ("accept-encoding", "gzip, deflate, br, zstd"),
                ("referer", "http://adservice:8080/ads?category=bicycles"),
                ("cookie", "session=b7c1f0a2d94e4f6c8a35; theme=dark; consent=essential"),
                ("connection", "keep-alive"),
                ("upgrade-insecure-requests", "1"),
                ("sec-fetch-dest", "document"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-site", "same-origin"),
                ("sec-fetch-user", "?1"),
                ("priority", "u=0, i"),
                ("cache-control", "max-age=0"),
            ],
            Self::Bare => &[("host", "adservice:8080")],
            Self::ConnectionNamed => &[
                ("host", "adservice:8080"),
                ("user-agent", "curl/8.9.1"),
                ("accept", "*/*"),
                ("connection", "keep-alive, te, x-hop-token, x-hop-budget"),
                ("keep-alive", "timeout=5"),
                ("te", "trailers"),
                ("x-hop-token", "a81c"),
                ("x-hop-budget", "250"),
                ("x-mantlet-peer", "spiffe://fleamarket.internal/admin"),
                ("client_cert", ":MIIB:"),
            ],
            Self::Grpc => &[
                ("user-agent", "tonic/0.14"),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
                ("grpc-timeout", "2S"),
                ("grpc-accept-encoding", "gzip"),
                ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ],
        };
        // With the room to spare that the HTTP library leaves.
        let mut headers = HeaderMap::with_capacity(fields.len());
        for (name, value) in fields {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }
}
