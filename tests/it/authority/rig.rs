//! An authority that runs as a service, with openssl and curl as its clients.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::programs::{CURL, Said, program, run};
use crate::support::sidecar::Sidecar;

const MANTLET: &str = env!("CARGO_BIN_EXE_mantlet");

pub(super) struct Rig {
    pub(super) folder: TempDir,
    pub(super) server: Sidecar,
}

/// What a server answered.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: String,
    pub(super) body: String,
}

/// A request for a certificate, whose key is in the file of the same name.
pub(super) struct Request {
    /// Base64 of the DER.
    pub(super) body: PathBuf,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(&[], "", "")
    }

    /// With options of `mantlet ca init`, further keys of `[authority]`, and further sections.
    pub(super) fn with(init: &[&str], keys: &str, sections: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("ca");
        let made = mantlet(
            &[&["ca", "init", "--trust-domain", "test.internal", "--dir", directory.to_str().unwrap()], init].concat(),
        );
        assert!(made.status.success(), "{}", text(&made.stderr));
        let server = Sidecar::start_authority(&config(&folder, keys, sections));
        Self { folder, server }
    }

    /// Kills the server without warning and starts another over the same folder.
    pub(super) fn restart(&mut self, keys: &str, sections: &str) {
        self.server.signal("KILL");
        self.server.wait_for_exit();
        self.server = Sidecar::start_authority(&config(&self.folder, keys, sections));
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn text_path(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// The standard output of a command of the authority that must succeed.
    pub(super) fn ca(&self, args: &[&str]) -> String {
        let output = self.try_ca(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// The standard error of one that must fail.
    pub(super) fn refused(&self, args: &[&str]) -> String {
        let output = self.try_ca(args);
        assert!(!output.status.success(), "{args:?} succeeded: {}", text(&output.stdout));
        text(&output.stderr)
    }

    pub(super) fn try_ca(&self, args: &[&str]) -> Output {
        // `rotate` has subcommands of its own, which the directory follows.
        let directory = self.text_path("ca");
        mantlet(&[&["ca"], args, &["--dir", &directory]].concat())
    }

    /// Registers a name and gives its one-time secret.
    pub(super) fn register(&self, name: &str, options: &[&str]) -> String {
        let printed = self.ca(&[&["register", name, "--json"], options].concat());
        let document: Value = serde_json::from_str(&printed).unwrap();
        document["secret"].as_str().unwrap().to_owned()
    }

    /// Makes a key and a request with openssl.
    pub(super) fn request(&self, file: &str, subject: &str) -> Request {
        self.request_with(file, subject, &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
    }

    pub(super) fn request_with(&self, file: &str, subject: &str, options: &[&str]) -> Request {
        let (key, der) = (self.text_path(&format!("{file}.key")), self.text_path(&format!("{file}.csr")));
        openssl(
            &[&["req", "-new", "-nodes", "-subj", subject, "-outform", "DER", "-keyout", &key, "-out", &der], options]
                .concat(),
        );
        let body = self.path(&format!("{file}.b64"));
        openssl(&["base64", "-in", &der, "-out", body.to_str().unwrap()]);
        Request { body }
    }

    /// Where a path of the EST listener is.
    pub(super) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.server.address("est").port())
    }

    /// Asks the EST listener.
    pub(super) fn curl(&self, path: &str, options: &[&str]) -> Answered {
        let (anchors, url) = (self.text_path("ca/ca.pem"), self.url(path));
        curl(&[&["--cacert", &anchors, &url], options].concat())
    }

    /// Asks the CRL listener.
    pub(super) fn curl_plain(&self, path: &str, options: &[&str]) -> Answered {
        let url = format!("http://{}{path}", self.server.address("crl"));
        curl(&[&[url.as_str()], options].concat())
    }

    /// Asks to enrol or renew.
    pub(super) fn enrol(&self, operation: &str, request: &Request, options: &[&str]) -> Answered {
        let data = format!("@{}", request.body.display());
        let with = ["-H", "content-type: application/pkcs10", "--data-binary", &data];
        self.curl(&format!("/.well-known/est/{operation}"), &[&with, options].concat())
    }

    /// Enrols with a secret and gives the file of the certificate, whose key is that of the request.
    pub(super) fn enrolled(&self, name: &str, secret: &str) -> PathBuf {
        let request = self.request(name, "/CN=whatever");
        let answered = self.enrol("simpleenroll", &request, &["-u", &format!("{name}:{secret}")]);
        assert_eq!(answered.status, 200, "{}", answered.body);
        self.keep(name, &answered)
    }

    /// Writes the certificate of an answer to a file.
    pub(super) fn keep(&self, name: &str, answered: &Answered) -> PathBuf {
        let (p7, pem) = (self.path(&format!("{name}.p7")), self.path(&format!("{name}.pem")));
        fs::write(&p7, format!("-----BEGIN PKCS7-----\n{}-----END PKCS7-----\n", answered.body)).unwrap();
        openssl(&["pkcs7", "-in", p7.to_str().unwrap(), "-print_certs", "-out", pem.to_str().unwrap()]);
        pem
    }

    /// Options of curl with the certificate and key that [`Rig::enrolled`] left.
    pub(super) fn identity(&self, name: &str) -> [String; 4] {
        [
            "--cert".into(),
            self.text_path(&format!("{name}.pem")),
            "--key".into(),
            self.text_path(&format!("{name}.key")),
        ]
    }

    /// The state that a holder of a certificate is told.
    pub(super) fn events(&self, name: &str, query: &str) -> Value {
        let identity = self.identity(name);
        let options: Vec<&str> = identity.iter().map(String::as_str).collect();
        let answered = self.curl(&format!("/.well-known/mantlet/events?{query}"), &options);
        assert_eq!(answered.status, 200, "{}", answered.body);
        serde_json::from_str(&answered.body).unwrap()
    }

    pub(super) fn list(&self) -> Vec<Value> {
        serde_json::from_str(&self.ca(&["list", "--json"])).unwrap()
    }
}

pub(super) fn config(folder: &TempDir, keys: &str, sections: &str) -> String {
    format!(
        "[authority]\ndir = \"{}\"\nlisten = \"127.0.0.1:0\"\ncrl_listen = \"127.0.0.1:0\"\n{keys}\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n{sections}",
        folder.path().join("ca").display()
    )
}

impl Answered {
    /// The value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.headers.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub(super) fn reason(&self) -> (u16, &str) {
        (self.status, self.header("mantlet-reason").unwrap_or_default())
    }
}

pub(super) fn curl(options: &[&str]) -> Answered {
    let mut command = Command::new(program("curl", CURL));
    command.args(["--silent", "--show-error", "--include", "--http1.1", "--max-time", "60"]).args(options);
    let Said { status, out, err } = run(&mut command, b"");
    assert!(status.success(), "curl {options:?}: {err}");
    // An interim answer, such as "100 Continue", comes first.
    let mut rest = out.as_str();
    loop {
        let (headers, body) = rest.split_once("\r\n\r\n").unwrap_or((rest, ""));
        let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
        if status >= 200 {
            return Answered { status, headers: headers.to_owned(), body: body.to_owned() };
        }
        rest = body;
    }
}

pub(super) fn mantlet(args: &[&str]) -> Output {
    Command::new(MANTLET).args(args).output().unwrap()
}

pub(super) fn openssl(args: &[&str]) -> String {
    let output = Command::new("openssl").args(args).output().expect("openssl is installed");
    assert!(output.status.success(), "openssl {args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
