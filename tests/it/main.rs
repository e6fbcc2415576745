//! What mantlet promises, tested from outside: one file for each topic.

mod admin;
mod attacks;
mod ca;
mod cert;
mod check;
mod config;
mod grpc;
mod http;
mod identity;
mod reload;
mod security;
mod smuggling;
mod support;
mod upstream;
