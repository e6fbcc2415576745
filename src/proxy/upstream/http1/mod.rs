//! HTTP/1.1 towards an upstream. There is no task for a connection: the one that serves the caller writes the request, reads the
//! answer and its body, and puts the connection back into the pool.
//!
//! The service is believed no more than the rules of HTTP allow: where the end of its answer could be found in two places there is
//! no answer, and a connection on which anything came beyond an answer carries no other request.

mod body;
mod carrier;
mod chunks;
mod connection;
mod error;
mod exchange;
mod head;
mod length;
mod receiving;
mod request;
mod sending;
mod upgraded;

pub(in crate::proxy) use body::{Http1Body, Used};
pub(in crate::proxy) use connection::Connection;
pub(in crate::proxy) use error::Http1Error;
pub(in crate::proxy) use upgraded::Upgraded;

pub(super) use exchange::send;
