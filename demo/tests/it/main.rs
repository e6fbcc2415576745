//! The program `flea-market` from outside.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod issuer;
mod page;
mod services;
mod story;
mod support;
