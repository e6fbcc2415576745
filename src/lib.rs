//! mantlet: a per-service sidecar proxy that enforces mutual TLS.

pub mod admin;
pub mod app;
#[cfg(feature = "authority")]
pub mod authority;
pub(crate) mod buckets;
#[cfg(feature = "authority")]
pub mod ca;
pub mod cli;
pub mod config;
pub mod durable;
pub mod enrolment;
pub mod fetch;
pub mod identity;
mod kept;
pub mod net;
pub mod policy;
pub mod proxy;
pub mod revocation;
pub mod telemetry;
pub mod tls;
pub mod token;
pub mod x509;
