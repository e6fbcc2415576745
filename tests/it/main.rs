//! What mantlet promises, tested from outside: one file for each topic.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]
#![allow(clippy::similar_names, reason = "caller and callee are what they are")]
#![allow(clippy::type_complexity, reason = "a table of cases is easier to read than its type")]

mod admin;
mod alert_rules;
mod answers;
mod attacks;
mod authority;
mod ca;
mod cert;
mod check;
mod config;
mod crl;
mod edge;
mod enrolment;
mod grpc;
mod http;
mod http2;
mod identity;
mod interop;
mod limits;
mod load;
mod proxy_protocol;
mod reload;
mod revocation;
mod rules;
mod security;
mod service_manager;
mod shutdown;
mod smuggling;
#[cfg(feature = "spiffe")]
mod spiffe;
mod status;
mod streaming;
mod support;
mod tcp;
mod token;
mod unix_sockets;
mod upgrade;
mod upstream;
