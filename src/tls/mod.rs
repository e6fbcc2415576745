//! TLS in both roles, over the material of `x509`.
