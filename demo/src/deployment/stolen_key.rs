//! A stolen key, from its first use until its connection is cut and no other is let in.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::time::{Instant, interval, timeout};
use tokio_rustls::TlsConnector;

use super::attacks::tls;
use crate::client::{self, Get};
use crate::report::Teller;

const HOST: &str = "adservice";
const PORT: u16 = 8443;
/// How often the thief asks on the connection that stays open.
const ASKED_EVERY: Duration = Duration::from_millis(100);

/// Use a stolen key until it is revoked
///
/// Holds a connection to `AdService` open and asks on it, while somebody else revokes the certificate. Exits with 0 when the
/// connection was cut and another is refused.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder with the stolen certificate and its key
    #[arg(long, default_value = "/certs")]
    certs: PathBuf,
    /// How long the revocation is waited for
    #[arg(long, default_value = "60", value_name = "SECONDS")]
    patience: u64,
}

pub(super) async fn run(args: &Args) -> anyhow::Result<bool> {
    let teller = Teller::new(false, false);
    teller.heading("A stolen key");
    let mut connection = connect(args).await?;
    if let Err(reason) = ask(&mut connection).await {
        bail!("the stolen key did not work before it was revoked: {reason}");
    }
    teller.note("tried     a connection to AdService with the gateway's key, which was stolen");
    teller.note("seen      it is answered: nobody knows of the theft yet; the connection stays open");
    teller.note("expected  the connection is cut when the CRL says so, and another is refused");

    let (since, mut tick) = (Instant::now(), interval(ASKED_EVERY));
    let mut answered = 0_u32;
    let end = timeout(Duration::from_secs(args.patience), async {
        loop {
            tick.tick().await;
            match ask(&mut connection).await {
                Ok(()) => answered += 1,
                Err(reason) => return reason,
            }
        }
    })
    .await;
    let Ok(reason) = end else {
        teller.problem(&format!("the connection was still answered after {} s", args.patience));
        return Ok(false);
    };
    teller
        .note(&format!("seen      cut after {answered} answers and {:.1} s: {reason}", since.elapsed().as_secs_f64()));

    let again = client::over_tls_to(HOST, PORT, tls(&args.certs, Some("stolen"))?, &Get::new("/ads/1")).await?;
    match again.answer {
        Err(reason) => {
            teller.note(&format!("seen      another connection is refused: {reason}"));
            Ok(true)
        }
        Ok(answer) => {
            teller.problem(&format!("another connection was answered {}", answer.status));
            Ok(false)
        }
    }
}

async fn connect(args: &Args) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
    let stream = client::connect(client::resolve(HOST, PORT).await?).await?;
    let stream = TlsConnector::from(tls(&args.certs, Some("stolen"))?)
        .connect(ServerName::try_from(HOST)?, stream)
        .await
        .context("the handshake with the stolen key failed")?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// One request, or in one line why it is not answered.
async fn ask(connection: &mut SendRequest<Empty<Bytes>>) -> Result<(), String> {
    let said = |error: hyper::Error| client::root(&error);
    connection.ready().await.map_err(said)?;
    let request = Request::get("/ads/1").header("host", HOST).body(Empty::new()).map_err(|error| error.to_string())?;
    let response = connection.send_request(request).await.map_err(said)?;
    let status = response.status();
    response.into_body().collect().await.map_err(said)?;
    if status.is_success() { Ok(()) } else { Err(format!("answered {status}")) }
}
