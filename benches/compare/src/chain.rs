//! The proxies of one measurement: inbound alone, or outbound and inbound in a row.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use tokio::io::BufStream;
use tokio::net::TcpStream;

use crate::backend::Application;
use crate::bench::Bench;
use crate::figures::Figures;
use crate::load::tls::Client;
use crate::load::{h2load, handshake, message};
use crate::peers::{Direction, HttpVersion, Peer, Scale, Setup};
use crate::process::Process;
use crate::wait::{until, until_connected};

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Plan<'a> {
    pub(crate) peer: &'a Peer,
    /// Behind the inbound proxy.
    pub(crate) application: Application,
    pub(crate) workers: usize,
    pub(crate) scale: Scale,
    pub(crate) crl: PathBuf,
}

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) process: Process,
}

/// Two proxies through which requests pass.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) inbound: Proxy,
    pub(crate) outbound: Proxy,
}

/// CPU seconds of two proxies.
#[derive(Debug, Clone, Copy)]
struct Cpu {
    inbound: f64,
    outbound: f64,
}

/// What was spent in a stretch of time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    cpu: Option<Cpu>,
    /// Seconds of real time.
    pub(crate) elapsed: f64,
}

/// Measures CPU from its making on.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    chain: Option<&'a Chain>,
    before: Option<Cpu>,
    start: Instant,
}

impl<'a> Plan<'a> {
    /// `peer` as it is measured unless a scenario says otherwise: before the application that answers, with the small CRL.
    pub(crate) fn new(bench: &Bench, peer: &'a Peer) -> Self {
        Self {
            peer,
            application: Application::Answers,
            workers: bench.effort.workers,
            scale: Scale::ONE,
            crl: bench.pki.crl.clone(),
        }
    }

    /// Starts one proxy, without waiting for it.
    pub(crate) fn start(
        &self,
        bench: &Bench,
        direction: Direction,
        target: SocketAddr,
        folder: &Path,
    ) -> anyhow::Result<Proxy> {
        let product = self.peer.product;
        let program = bench.programs.product(product).with_context(|| format!("{} is missing", product.program()))?;
        let address = bench.ports.address()?;
        let spare: Vec<_> =
            (0..self.scale.spare_listeners(direction)).map(|_| bench.ports.address()).collect::<Result<_, _>>()?;
        let setup = Setup {
            peer: self.peer,
            direction,
            listen: address,
            target,
            application: self.application.speaks(),
            workers: self.workers,
            admin: bench.ports.address()?,
            pki: &bench.pki,
            crl: &self.crl,
            scale: self.scale,
            spare: &spare,
            folder,
        };
        let name = format!("{} {}", self.peer.name, direction.as_str());
        let log = folder.join(format!("{}.log", direction.as_str()));
        Ok(Proxy { address, process: Process::start(&name, setup.command(program)?, &log)? })
    }

    /// Starts the inbound proxy alone, and waits until it has completed a handshake with a good client.
    pub(crate) async fn start_inbound(&self, bench: &Bench) -> anyhow::Result<Proxy> {
        let folder = bench.new_folder(self.peer.name)?;
        let mut inbound = self.start(bench, Direction::Inbound, bench.backend.address(self.application), &folder)?;
        inbound.until_handshake(bench).await?;
        Ok(inbound)
    }

    /// Starts both proxies, and waits until a request gets through.
    pub(crate) async fn start_chain(&self, bench: &Bench) -> anyhow::Result<Chain> {
        let folder = bench.new_folder(self.peer.name)?;
        let mut inbound = self.start(bench, Direction::Inbound, bench.backend.address(self.application), &folder)?;
        let mut outbound = self.start(bench, Direction::Outbound, inbound.address, &folder)?;
        inbound.until_handshake(bench).await?;
        until_connected(outbound.address, &mut outbound.process).await?;
        let address = outbound.address;
        let request = async || match self.application.speaks() {
            HttpVersion::Http1 => get(address).await,
            HttpVersion::Http2 => h2load::one_call(&bench.programs.h2load, address, &folder).await,
        };
        until(&mut outbound.process, request)
            .await
            .with_context(|| format!("{}: no request gets through", self.peer.name))?;
        Ok(Chain { inbound, outbound })
    }
}

impl Proxy {
    async fn until_handshake(&mut self, bench: &Bench) -> anyhow::Result<()> {
        let client = Client::new(&bench.pki, Some(&bench.pki.client))?;
        let source = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let address = self.address;
        until(&mut self.process, async || handshake::once(&client, source, address).await).await
    }
}

impl Chain {
    /// Ends both proxies.
    pub(crate) async fn stop(self) {
        tokio::join!(self.inbound.process.stop(), self.outbound.process.stop());
    }

    fn cpu(&self) -> Cpu {
        Cpu { inbound: self.inbound.process.cpu_seconds(), outbound: self.outbound.process.cpu_seconds() }
    }
}

impl<'a> Meter<'a> {
    /// Begins to measure both proxies of `chain`, or nothing but time where there is none.
    pub(crate) fn start(chain: Option<&'a Chain>) -> Self {
        Self { chain, before: chain.map(Chain::cpu), start: Instant::now() }
    }

    /// What was spent so far.
    pub(crate) fn spent(&self) -> Spent {
        let elapsed = self.start.elapsed().as_secs_f64();
        let cpu = self.chain.map(Chain::cpu).zip(self.before).map(|(now, before)| Cpu {
            inbound: now.inbound - before.inbound,
            outbound: now.outbound - before.outbound,
        });
        Spent { cpu, elapsed }
    }
}

impl Spent {
    /// The CPU seconds of each proxy and of both, divided by `count`; none where there was no proxy.
    pub(crate) fn each(&self, count: f64) -> Figures {
        let Some(cpu) = self.cpu else { return Figures::new() };
        let named = [("cpu_inbound", cpu.inbound), ("cpu_outbound", cpu.outbound), ("cpu", cpu.inbound + cpu.outbound)];
        named.into_iter().map(|(name, seconds)| (name.to_owned(), seconds / count)).collect()
    }
}

async fn get(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = BufStream::new(TcpStream::connect(address).await?);
    let status = message::exchange(&mut stream).await?;
    ensure!(status == 200, "the answer is {status}");
    Ok(())
}
