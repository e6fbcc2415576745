//! Connections and exchanges.
