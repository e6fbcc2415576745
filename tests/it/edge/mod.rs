//! The edge listener, from the public's side and from the service's.

mod behind;
mod bodies;
mod clients;
mod cors;
mod grpc;
mod headers;
mod routes;
mod throttle;
mod tls;
mod users;
