//! Where the CRLs to show come from.

use std::path::Path;

use crate::config::CrlUrl;
use crate::revocation::fetch_once;
use crate::x509::{TrustMaterial, read_crl_file, split_crls};

use super::super::runtime;
use super::Args;

/// A file, or an address.
pub(super) enum Input<'a> {
    File(&'a Path),
    Url(CrlUrl),
}

impl<'a> Input<'a> {
    pub(super) fn new(text: &'a str) -> Result<Self, String> {
        if !text.contains("://") {
            return Ok(Self::File(Path::new(text)));
        }
        text.parse().map(Self::Url).map_err(|error| format!("{error}; give an address without more, or a path"))
    }

    /// The CRLs, each in DER.
    pub(super) fn read(&self, args: &Args, material: Option<&TrustMaterial>) -> Result<Vec<Vec<u8>>, String> {
        match self {
            Self::File(path) => read_crl_file(path, args.max_size).map_err(|error| {
                format!("{}: {error}; check that it exists, is readable by this user and is whole", path.display())
            }),
            Self::Url(url) => fetch(url, args, material),
        }
    }
}

fn fetch(url: &CrlUrl, args: &Args, material: Option<&TrustMaterial>) -> Result<Vec<Vec<u8>>, String> {
    let anchors = match (material, url.url().scheme()) {
        (Some(material), _) => material.root_store(),
        (None, "https") => {
            return Err(format!(
                "{url}: a server of https is verified against the trust anchors, and there are none; give --trust-anchors FILE, \
                 or fetch over http: a CRL is signed by itself"
            ));
        }
        (None, _) => rustls::RootCertStore::empty(),
    };
    let runtime = runtime().map_err(|error| format!("nothing can be fetched: {error}; try again"))?;
    let fetched = runtime.block_on(fetch_once(url, anchors, args.max_size, args.timeout));
    // A name server that does not answer holds up nobody.
    runtime.shutdown_background();
    let bytes = fetched.map_err(|error| {
        format!("{url} {error}; check the address, that this machine reaches it, --timeout and --max-size")
    })?;
    split_crls(bytes).map_err(|error| format!("{url}: {error}; check that this is the address of a CRL"))
}
