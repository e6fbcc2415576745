//! Asking a service whether it is healthy, as a container's health check does: the exit code tells, and no shell is needed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};

const DEADLINE: Duration = Duration::from_secs(5);

/// Asks the service that listens at `listen`, which may be the unspecified address, for `/healthz`.
pub(crate) async fn ask(listen: SocketAddr) -> anyhow::Result<()> {
    let url = format!("http://{}/healthz", reachable(listen));
    let http = reqwest::Client::builder().no_proxy().timeout(DEADLINE).build()?;
    let response = http.get(&url).send().await.with_context(|| format!("{url} does not answer"))?;
    let status = response.status();
    if !status.is_success() {
        bail!("{url} answered {status}: {}", response.text().await.unwrap_or_default().trim());
    }
    Ok(())
}

/// The address to connect to: a listener on every address is reached on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_asked_on_loopback() {
        for (listen, asked) in [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("10.0.0.1:80", "10.0.0.1:80")]
        {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked);
        }
    }
}
