//! Connections and exchanges: one file for each direction, one for what they carry, one for each thing they lean on.
//!
//! A connection comes in by `inbound`, `outbound` or `edge`; its requests go through `http_exchange` and its bytes through
//! `tcp_tunnel`; both reach the other side through `upstream`. When a connection has to end is decided in
//! `connections` alone.

pub mod connections;
pub mod edge;
pub mod headers;
pub mod inbound;
pub mod metrics;
pub mod outbound;
pub mod refusals;
pub mod upstream;
pub mod user_headers;

mod admission;
mod client_claims;
mod direction;
mod error;
mod http1_connection;
mod http2_connection;
mod http2_settings;
mod http2_stream;
mod http_connection;
mod http_exchange;
mod incoming;
mod listener;
mod prefixed;
mod proxy_protocol;
mod record;
mod relay;
mod request_body;
mod response_body;
mod tcp_tunnel;
mod watched;

pub use direction::Direction;
pub use error::ProxyError;
pub use listener::{ListenerContext, Shared};
