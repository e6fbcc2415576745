//! Certificates: loading, path validation, revocation, and the command line over them.

mod command;
mod loading;
mod pki;
mod refusals;
mod revocation;

pub(crate) use pki::{Ca, Leaf, now};
