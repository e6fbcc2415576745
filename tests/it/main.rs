//! What mantlet promises, tested from outside: one file for each topic.

mod admin;
mod ca;
mod cert;
mod check;
mod config;
mod http;
mod identity;
mod limits;
mod reload;
mod security;
mod shutdown;
mod support;
