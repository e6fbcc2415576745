//! What the tests are built from: a PKI made at run time, real sidecar processes, and a service to put behind them.

pub(crate) mod balancer;
pub(crate) mod exchange;
pub(crate) mod gate;
pub(crate) mod h2_frames;
pub(crate) mod load;
pub(crate) mod mesh;
pub(crate) mod pki;
pub(crate) mod service;
pub(crate) mod sidecar;
pub(crate) mod tls_client;
