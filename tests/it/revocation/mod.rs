//! The revocation engine: sources, freshness, cache, scopes, deltas, and what becomes of live connections.

mod adversary;
mod cache;
mod crl_server;
mod distribution_points;
mod hostile;
mod live;
mod made;
mod rig;
mod scopes;
mod sources;
