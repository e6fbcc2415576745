//! What listeners have in common, and what two of them may not share.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use crate::net::{Address, Endpoint, Host};

use super::Located;
use super::reader::TableReader;

/// The most bytes of a Unix socket's path on Linux (unix(7)), without the closing zero.
const MAX_SOCKET_PATH: usize = 107;

/// What to write where a local address is none.
pub(super) const LISTEN_REMEDY: &str = "write IP:PORT such as \"127.0.0.1:9001\", or \"unix:/PATH\"";

/// What the tables of one file claim. Two claims on one thing are found when all are known.
#[derive(Default)]
pub(super) struct Claims {
    names: Vec<Located<String>>,
    listeners: Vec<Listener>,
    targets: Vec<Target>,
}

/// An address that we listen on.
struct Listener {
    title: String,
    address: Located<Address>,
    speaks_tls: bool,
}

/// An address that we connect to.
struct Target {
    thing: String,
    address: Located<Address>,
    speaks_tls: bool,
}

impl Claims {
    pub(super) fn listen(&mut self, title: &str, address: Option<&Located<Address>>, speaks_tls: bool) {
        let listener =
            |address: &Located<Address>| Listener { title: title.into(), address: address.clone(), speaks_tls };
        self.listeners.extend(address.map(listener));
    }

    /// The local service.
    pub(super) fn target(&mut self, thing: &str, address: &Located<Address>) {
        self.targets.push(Target { thing: thing.into(), address: address.clone(), speaks_tls: false });
    }

    /// A peer. Where its name leads is not known before it is resolved.
    pub(super) fn peer(&mut self, thing: &str, endpoint: Option<&Located<Endpoint>>) {
        let Some(Located { value: Endpoint { host: Host::Ip(ip), port }, span }) = endpoint else { return };
        let address = Located { value: Address::Tcp(SocketAddr::new(*ip, *port)), span: span.clone() };
        self.targets.push(Target { thing: thing.into(), address, speaks_tls: true });
    }

    /// Reports every conflict.
    pub(super) fn check(&self, t: &mut TableReader<'_, '_, '_>) {
        for (index, name) in self.names.iter().enumerate() {
            if self.names[..index].iter().any(|earlier| earlier.value == name.value) {
                let message = format!("the name {:?} is taken by an earlier listener", name.value);
                t.rule(Some(name.span.clone()), message, "give each listener and each [[upstream]] a name of its own");
            }
        }
        for (index, listener) in self.listeners.iter().enumerate() {
            let address = &listener.address;
            if let Some(earlier) =
                self.listeners[..index].iter().find(|one| conflict(&one.address.value, &address.value))
            {
                let message = format!(
                    "{}: listen is \"{}\", which {} takes already with \"{}\"",
                    listener.title, address.value, earlier.title, earlier.address.value,
                );
                t.rule(Some(address.span.clone()), message, "choose another port or path");
            }
        }
        for target in &self.targets {
            self.check_target(t, target);
        }
    }

    fn check_target(&self, t: &mut TableReader<'_, '_, '_>, target: &Target) {
        // A peer's address that leads to an inbound listener is one service calling itself over mutual TLS, which is no loop.
        let reached = self
            .listeners
            .iter()
            .filter(|listener| !(target.speaks_tls && listener.speaks_tls))
            .find(|listener| reaches(&target.address.value, &listener.address.value));
        if let Some(listener) = reached {
            let message = format!(
                "{} is \"{}\", where {} of this file listens",
                target.thing, target.address.value, listener.title,
            );
            let remedy = if target.speaks_tls {
                "write the address of the peer's inbound listener"
            } else {
                "write the address on which the service itself listens"
            };
            t.rule(Some(target.address.span.clone()), message, remedy);
        }
    }
}

/// A local address that the system can take; `remedy` is for one that is ill-formed.
pub(super) fn read_address(
    t: &mut TableReader<'_, '_, '_>,
    key: &'static str,
    remedy: &str,
) -> Option<Located<Address>> {
    let address = t.parsed::<Address>(key, remedy)?;
    if let Address::Unix(path) = &address.value {
        let length = path.as_os_str().len();
        if length > MAX_SOCKET_PATH {
            let message =
                format!("{} names a socket of {length} bytes: expected at most {MAX_SOCKET_PATH}", t.thing(key));
            t.error(Some(address.span), message, "choose a shorter path, such as \"unix:/run/app.sock\"");
            return None;
        }
    }
    Some(address)
}

/// The listener's name; required.
pub(super) fn read_name(t: &mut TableReader<'_, '_, '_>, claims: &mut Claims) -> Option<Located<String>> {
    let name = read_short_name(t, "name it for logs and metrics, such as name = \"ads\"")?;
    claims.names.push(name.clone());
    Some(name)
}

/// `name`, short enough to be a label; required.
pub(super) fn read_short_name(t: &mut TableReader<'_, '_, '_>, remedy: &str) -> Option<Located<String>> {
    let name = t.string("name");
    t.require("name", remedy);
    let name = name?;
    let well_formed = (1..=63).contains(&name.value.len())
        && name.value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if !well_formed {
        let message =
            format!("{} is {:?}: expected 1 to 63 of the characters a-z A-Z 0-9 . _ -", t.thing("name"), name.value);
        t.error(Some(name.span), message, "write a short name such as \"ads\"");
        return None;
    }
    Some(name)
}

/// `listen` of a listener that speaks plaintext; required, and off loopback only with `unsafe_listen = true`.
pub(super) fn read_plaintext_listen(
    t: &mut TableReader<'_, '_, '_>,
    example: &str,
    risk: &str,
) -> Option<Located<Address>> {
    let listen = read_address(t, "listen", LISTEN_REMEDY);
    t.require("listen", &format!("say where, such as listen = {example:?}"));
    let option = t.boolean("unsafe_listen");
    let waived = option.as_ref().is_some_and(|option| option.value);
    let listen = listen?;
    if !listen.value.is_loopback() && !waived {
        let message = format!("{} is \"{}\", off loopback and in plaintext: {risk}", t.thing("listen"), listen.value);
        let remedy = "listen on 127.0.0.1, [::1] or unix:/PATH, or write unsafe_listen = true";
        t.rule(Some(listen.span.clone()), message, remedy);
    } else if listen.value.is_loopback() && waived {
        let message = format!("{} is true, but \"{}\" is on loopback", t.thing("unsafe_listen"), listen.value);
        t.warn(option.map(|option| option.span), message, "remove it");
    }
    Some(listen)
}

/// Keys that mean something for HTTP alone.
pub(super) fn refuse_under_tcp(t: &mut TableReader<'_, '_, '_>, keys: &[&str]) {
    for key in keys {
        let span: Option<Range<usize>> = t.whole_span(key);
        if span.is_some() {
            let message = format!("{} does not apply to protocol \"tcp\"", t.thing(key));
            t.rule(span, message, "remove it, or write protocol = \"http\"");
        }
    }
}

/// True where the two cannot both be bound. Port 0 is a port of the system's choice, which is never one that is taken.
fn conflict(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Unix(one), Address::Unix(other)) => one == other,
        (Address::Tcp(one), Address::Tcp(other)) => {
            one.port() == other.port() && one.port() != 0 && overlap(one.ip().to_canonical(), other.ip().to_canonical())
        }
        _ => false,
    }
}

fn overlap(one: IpAddr, other: IpAddr) -> bool {
    // A socket on [::] takes IPv4 too, as long as nobody sets IPV6_V6ONLY.
    let covers = |wildcard: IpAddr, address: IpAddr| {
        wildcard.is_unspecified() && (wildcard.is_ipv6() || address.is_ipv4() || address.is_unspecified())
    };
    one == other || covers(one, other) || covers(other, one)
}

/// True where a connection to `target` certainly ends at a listener on `listen`. An address off loopback may be another
/// host's, so that a wildcard listener does not speak for it.
fn reaches(target: &Address, listen: &Address) -> bool {
    match (target, listen) {
        (Address::Tcp(to), Address::Tcp(on)) if to.ip() != on.ip() => {
            (to.ip().to_canonical().is_loopback() || to.ip().is_unspecified()) && conflict(target, listen)
        }
        _ => conflict(target, listen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().expect("valid")
    }

    #[test]
    fn a_wildcard_takes_every_address_of_its_port() {
        for (one, other) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("10.0.0.7:80", "0.0.0.0:80"),
            ("[::]:80", "127.0.0.1:80"),
            ("[::]:80", "[fd00::7]:80"),
            ("[::]:80", "0.0.0.0:80"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80"),
            ("unix:/run/a", "unix:/run/a"),
        ] {
            assert!(conflict(&address(one), &address(other)), "{one} {other}");
            assert!(conflict(&address(other), &address(one)), "{other} {one}");
        }
        for (one, other) in [
            ("0.0.0.0:80", "0.0.0.0:81"),
            ("0.0.0.0:80", "[::1]:80"),
            ("127.0.0.1:80", "127.0.0.2:80"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("unix:/run/a", "unix:/run/b"),
            ("unix:/run/a", "127.0.0.1:80"),
        ] {
            assert!(!conflict(&address(one), &address(other)), "{one} {other}");
        }
    }

    #[test]
    fn a_wildcard_listener_is_reached_through_loopback() {
        assert!(reaches(&address("127.0.0.1:80"), &address("0.0.0.0:80")));
        assert!(reaches(&address("[::1]:80"), &address("[::]:80")));
        assert!(reaches(&address("0.0.0.0:80"), &address("127.0.0.1:80")));
        assert!(!reaches(&address("10.0.0.7:80"), &address("0.0.0.0:80")));
        assert!(!reaches(&address("127.0.0.1:80"), &address("10.0.0.7:80")));
    }
}
