//! What mantlet promises, tested from outside: one file for each topic.

mod admin;
mod ca;
mod cert;
mod check;
mod config;
mod http;
mod identity;
mod proxy_protocol;
mod security;
mod smuggling;
mod support;
mod tcp;
mod unix_sockets;
mod upstream;
