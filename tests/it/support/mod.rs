//! What the tests are built from: a PKI made at run time, real sidecar processes, and a service to put behind them.

pub(crate) mod balancer;
pub(crate) mod door;
pub(crate) mod exchange;
pub(crate) mod frames;
pub(crate) mod gate;
pub(crate) mod gateway;
pub(crate) mod grpc;
pub(crate) mod h2_frames;
pub(crate) mod h2_service;
pub(crate) mod key_server;
pub(crate) mod load;
pub(crate) mod mesh;
pub(crate) mod pki;
pub(crate) mod postgres;
pub(crate) mod programs;
pub(crate) mod raw_service;
pub(crate) mod scripted_server;
pub(crate) mod service;
pub(crate) mod sidecar;
#[cfg(feature = "spiffe")]
pub(crate) mod spiffe_agent;
pub(crate) mod tcp_service;
pub(crate) mod tls_client;
pub(crate) mod tokens;

/// Runs a future to its end on a runtime of its own.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
