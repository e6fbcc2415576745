//! stunnel: a byte tunnel with a thread, and a TLS connection, for each connection of a client. It has no rule for who may call
//! beyond the CA, and checks the server's DNS name.

use tokio::process::Command;

use super::{CIPHER_SUITE, Direction, Setup};
use crate::pki::SERVER_NAME;

pub(super) fn configure(setup: &Setup<'_>, command: &mut Command) -> anyhow::Result<()> {
    let credentials = setup.credentials();
    let client = match setup.direction {
        Direction::Inbound => String::new(),
        Direction::Outbound => format!("client = yes\nsni = {SERVER_NAME}\ncheckHost = {SERVER_NAME}\n"),
    };
    let text = format!(
        "foreground = yes\npid =\ndebug = 3\n\
         socket = a:TCP_NODELAY=1\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n\
         [tunnel]\naccept = {listen}\nconnect = {target}\ncert = {certificate}\nkey = {key}\n\
         CAfile = {anchor}\nCRLfile = {crl}\nverifyChain = yes\nsslVersionMin = TLSv1.3\nciphersuites = {CIPHER_SUITE}\n\
         TIMEOUTidle = 86400\nTIMEOUTclose = 1\nlibwrap = no\n{client}",
        listen = setup.listen,
        target = setup.target,
        certificate = credentials.certificate.display(),
        key = credentials.private_key.display(),
        anchor = setup.pki.anchor.display(),
        crl = setup.crl.display(),
    );
    command.arg(setup.write("conf", &text)?);
    Ok(())
}
