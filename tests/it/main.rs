//! What mantlet promises, tested from outside: one file for each topic.

mod admin;
mod ca;
mod config;
