//! Loopback addresses that nobody uses, below the range from which the kernel takes the ports of outgoing connections.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Context as _;

const LOWEST: u16 = 10_000;

/// Hands out one address after the other.
#[derive(Debug)]
pub(crate) struct Ports {
    range: Range<u16>,
    next: AtomicU16,
}

impl Ports {
    pub(crate) fn new() -> Self {
        let highest = first_outgoing_port().unwrap_or(32_768).max(LOWEST + 4_096);
        let range = LOWEST..highest;
        // Two runs on one machine begin at different places.
        let seed = u16::try_from(std::process::id() % u32::from(range.end - range.start)).unwrap_or(0);
        Self { next: AtomicU16::new(seed), range }
    }

    /// An address on 127.0.0.1 that can be bound at this moment.
    pub(crate) fn address(&self) -> anyhow::Result<SocketAddr> {
        let count = self.range.end - self.range.start;
        (0..count)
            .map(|_| {
                let offset = self.next.fetch_add(1, Ordering::Relaxed) % count;
                SocketAddr::from((Ipv4Addr::LOCALHOST, self.range.start + offset))
            })
            .find(|address| TcpListener::bind(address).is_ok())
            .with_context(|| format!("no port of {}-{} on 127.0.0.1 is free", self.range.start, self.range.end))
    }
}

fn first_outgoing_port() -> Option<u16> {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?.split_whitespace().next()?.parse().ok()
}
