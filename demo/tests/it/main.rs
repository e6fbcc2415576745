//! The program `flea-market` from outside.

mod services;
mod support;
