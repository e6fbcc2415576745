//! TLS in both roles, over the material of `x509`: configurations, verifiers and handshakes under a deadline.
//!
//! Sessions are never resumed: a resumed session presents no certificate, so a revoked peer could come back on a ticket.
//! What a peer may do once it is known is left to `policy`.

mod accept;
mod connect;
mod error;
mod peer;
mod settings;
mod signatures;
mod stream;
mod unjudged;
mod verifier;

pub use accept::{Acceptor, FailedHandshake, PreparedServer, Presents, TlsServerStream};
pub use connect::{Alpn, Connector, PreparedClient, TlsClientStream, unsafe_connect_to_anyone};
pub use error::HandshakeError;
pub use peer::{Peer, TrustSnapshot};
pub use settings::provider;
pub use stream::TlsStream;
pub use unjudged::UnjudgedAcceptor;
