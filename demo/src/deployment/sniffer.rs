//! Somebody who reads every frame that passes in a network namespace: on loopback plaintext, on the wire TLS.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, eth, recv, socket_with, sockopt};

use crate::report::Teller;

/// Larger than any frame, segments that the kernel has put together included.
const FRAME_BYTES: usize = 128 * 1024;
/// How long one look for a frame takes.
const LOOK: Duration = Duration::from_millis(200);
/// How long it goes on once every text was seen on loopback: what belongs to them is on the wire by then.
const AFTERWARDS: Duration = Duration::from_secs(2);
const ETHERNET_BYTES: usize = 14;

/// Read every frame of a network namespace, and look for texts that must not be on the wire
///
/// It ends a moment after each text was seen on loopback, between a service and its sidecar, where plaintext is: that shows that
/// the sniffer would have seen it on the wire too. Exits with 0 when none was, and TLS was. It needs the capability `NET_RAW`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A text to look for; may be given more than once
    #[arg(long = "text", required = true, value_name = "TEXT")]
    texts: Vec<String>,
    /// How long the texts are waited for
    #[arg(long, default_value = "60", value_name = "SECONDS")]
    patience: u64,
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Seen {
    on_loopback: BTreeSet<usize>,
    on_the_wire: BTreeSet<usize>,
    frames_on_the_wire: u64,
    /// Frames that begin with a TLS record of application data.
    tls_frames: u64,
}

pub(super) async fn run(args: &Args) -> anyhow::Result<bool> {
    let socket = open()?;
    // The first line: whoever makes the traffic waits for it.
    println!("listening to every frame of this namespace");
    let (texts, patience) = (args.texts.clone(), Duration::from_secs(args.patience));
    let seen = tokio::task::spawn_blocking(move || listen(&socket, &texts, patience)).await??;
    Ok(seen.tell(&args.texts, &Teller::new(false, false)))
}

/// A socket to which the kernel gives a copy of every frame, in both directions.
fn open() -> anyhow::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, Some(eth::ALL))
        .context("no frames are to be had; the capability NET_RAW is needed")?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(LOOK))?;
    Ok(socket)
}

fn listen(socket: &OwnedFd, texts: &[String], patience: Duration) -> anyhow::Result<Seen> {
    let (mut seen, mut frame) = (Seen::default(), vec![0; FRAME_BYTES]);
    let mut end = Instant::now() + patience;
    let mut is_complete = false;
    while Instant::now() < end {
        match recv(socket, &mut frame[..], RecvFlags::empty()) {
            Ok((_, length)) => seen.note(&frame[..length.min(FRAME_BYTES)], texts),
            Err(Errno::AGAIN | Errno::INTR) => (),
            Err(error) => bail!("no more frames are to be had: {error}"),
        }
        if !is_complete && seen.on_loopback.len() == texts.len() {
            is_complete = true;
            end = Instant::now() + AFTERWARDS;
        }
    }
    Ok(seen)
}

impl Seen {
    fn note(&mut self, frame: &[u8], texts: &[String]) {
        // Loopback has no hardware addresses.
        let is_loopback = frame.len() >= ETHERNET_BYTES && frame[..12].iter().all(|byte| *byte == 0);
        let found =
            texts.iter().enumerate().filter(|(_, text)| contains(frame, text.as_bytes())).map(|(index, _)| index);
        if is_loopback {
            self.on_loopback.extend(found);
        } else {
            self.on_the_wire.extend(found);
            self.frames_on_the_wire += 1;
            self.tls_frames += u64::from(tcp_payload(frame).is_some_and(|payload| payload.starts_with(&[23, 3, 3])));
        }
    }

    fn tell(&self, texts: &[String], teller: &Teller) -> bool {
        teller.heading("Sniffing in the network namespace of AdService");
        let Self { frames_on_the_wire, tls_frames, .. } = self;
        teller.note(&format!(
            "seen      {frames_on_the_wire} frames on the wire, {tls_frames} of them begin with TLS application data"
        ));
        let mut is_good = *tls_frames > 0;
        if !is_good {
            teller.problem("there is no TLS on the wire, so that nothing is shown");
        }
        for (index, text) in texts.iter().enumerate() {
            match (self.on_loopback.contains(&index), self.on_the_wire.contains(&index)) {
                (true, false) => {
                    teller.note(&format!("seen      {text:?}: on loopback, never on the wire"));
                    continue;
                }
                (false, false) => {
                    teller.problem(&format!("{text:?} was not even seen on loopback, so that nothing is shown"));
                }
                (_, true) => teller.problem(&format!("{text:?} was on the wire in plaintext")),
            }
            is_good = false;
        }
        is_good
    }
}

fn contains(frame: &[u8], text: &[u8]) -> bool {
    frame.windows(text.len()).any(|window| window == text)
}

/// What a frame carries over TCP and IPv4.
fn tcp_payload(frame: &[u8]) -> Option<&[u8]> {
    const IPV4: [u8; 2] = [8, 0];
    const TCP: u8 = 6;
    let packet = frame.get(ETHERNET_BYTES..)?;
    if frame[12..ETHERNET_BYTES] != IPV4 || *packet.get(9)? != TCP {
        return None;
    }
    let segment = packet.get(usize::from(packet[0] & 15) * 4..)?;
    segment.get(usize::from(*segment.get(12)? >> 4) * 4..)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of TCP over IPv4 between these hardware addresses.
    fn frame(hardware: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![hardware; 12];
        frame.extend([8, 0]);
        frame.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0, 80, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x18, 0, 0, 0, 0, 0, 0]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn plaintext_on_loopback_is_expected_and_on_the_wire_it_is_found() {
        let texts = ["secret".to_owned()];
        let mut seen = Seen::default();
        seen.note(&frame(0, b"a secret here"), &texts);
        seen.note(&frame(2, &[23, 3, 3, 0, 1, 99]), &texts);
        seen.note(&frame(2, b""), &texts);
        assert_eq!((seen.frames_on_the_wire, seen.tls_frames), (2, 1));
        assert!(seen.on_loopback.contains(&0) && seen.on_the_wire.is_empty());
        seen.note(&frame(2, b"a secret here"), &texts);
        assert!(seen.on_the_wire.contains(&0));
    }

    #[test]
    fn a_short_frame_has_no_payload() {
        let whole = frame(2, &[]);
        for length in 0..whole.len() {
            assert_eq!(tcp_payload(&whole[..length]), None, "{length}");
        }
    }
}
