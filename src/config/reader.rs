//! Reads TOML tables key by key, so that every problem of a file is found in one run.
