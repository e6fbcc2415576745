//! Sockets: addresses, listeners, the accept loop and the worker threads. What is said on a socket is left to others.

mod address;

pub use address::{Address, AddressError, Endpoint, Host};
