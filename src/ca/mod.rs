//! A closed certificate authority in a directory.
