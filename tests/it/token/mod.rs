//! End-user tokens: what is accepted, what is refused and why, and where the keys come from.

mod claims;
mod forms;
mod keys;
mod parsers;
mod rig;
mod signatures;
mod trust;
