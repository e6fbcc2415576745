//! Sockets: addresses, listeners, the accept loop and the worker threads. What is said on a socket is left to others.

mod address;
mod buffer;
mod ip_range;
mod listener;
mod stream;
mod workers;

pub(crate) use buffer::Buffer;

pub use address::{Address, AddressError, Endpoint, Host};
pub use ip_range::{IpRange, IpRangeError};
pub use listener::{Arrival, BindError, Listener, PeerAddress};
pub use stream::Stream;
pub use workers::{Worker, Workers};
