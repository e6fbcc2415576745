//! The commands `mantlet crl show` and `mantlet crl fetch`, run as processes, with CRLs from files and from a real server.

mod ca;
mod fetch;
mod show;

use std::process::Command;

use serde_json::Value;

use crate::support::raw_service::{RawService, Then};

struct Answer {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }

    /// The text of one row.
    #[track_caller]
    fn row(&self, name: &str) -> &str {
        let found = self.out.lines().find_map(|line| line.strip_prefix("  ")?.strip_prefix(name)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no row {name}: {}{}", self.out, self.err)).trim()
    }
}

fn mantlet(arguments: &[&str]) -> Answer {
    let output = Command::new(env!("CARGO_BIN_EXE_mantlet")).arg("crl").args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Answer { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A server of these paths; any other is not found.
fn serving(files: Vec<(&'static str, Vec<u8>)>) -> RawService {
    RawService::answering(move |request| {
        let file = files.iter().find(|(path, _)| *path == request.path());
        let (status, body) = file.map_or(("404 Not Found", &[][..]), |(_, body)| ("200 OK", body));
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        Then::AnswerAndClose([head.as_bytes(), body].concat())
    })
}
