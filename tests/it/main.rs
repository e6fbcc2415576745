//! What mantlet promises, tested from outside: one file for each topic.

mod ca;
mod check;
mod config;
