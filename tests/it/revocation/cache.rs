//! What outlives a restart, and what does not.

use std::path::PathBuf;

use mantlet::config::Revocation;
use rcgen::SerialNumber;

use super::crl_server::{Answer, CrlServer};
use super::made::Made;
use super::rig::{HOUR, Rig, located, source};
use crate::cert::{Ca, Leaf};

const SERIAL: &[u8] = &[0x4f, 2, 3, 4];

struct Scene {
    root: Ca,
    server: CrlServer,
    leaf: Leaf,
    rig: Rig,
}

impl Scene {
    /// An engine with a cache whose server lists one certificate.
    fn new() -> Self {
        let root = Ca::root("root");
        let server = CrlServer::of_crl(&Made::numbered(5).revoking(SERIAL, None).signed_by(&root));
        let mut rig = Rig::new(&[&root.cert], Revocation::of([source(&server.url("/ca.crl"))]));
        rig.settings.cache_dir = Some(located(rig.path().join("cache")));
        rig.start();
        let leaf = root.leaf_with("ads", |params| params.serial_number = Some(SerialNumber::from_slice(SERIAL)));
        let scene = Self { root, server, leaf, rig };
        scene.wait_for_files(1);
        scene
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.rig.path().join("cache")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "crl")).collect()
    }

    /// The cache is written beside the work; this lets it.
    fn wait_for_files(&self, count: usize) {
        while self.files().len() < count {
            self.rig.idle();
        }
    }

    /// The same in a process that starts while the CA is silent.
    fn restarted(&self) -> (Rig, Vec<String>) {
        self.server.answer(Answer::Status("503 Service Unavailable", String::new()));
        let mut rig = self.rig.restarted(&[&self.root.cert]);
        let findings = rig.start();
        (rig, findings)
    }
}

#[test]
fn a_restart_while_the_ca_is_silent_finds_the_last_crl() {
    let scene = Scene::new();
    let (rig, findings) = scene.restarted();
    assert_eq!((rig.numbers(), rig.verdict(&[&scene.leaf.cert])), (vec!["05".to_owned()], "revoked"));
    assert_eq!(findings, Vec::<String>::new());
    assert!(rig.crl().info.source.contains("cache"), "{:?}", rig.crl());
}

#[test]
fn the_number_of_the_last_crl_outlives_a_restart() {
    let scene = Scene::new();
    scene.server.answer(Answer::crl(&Made::numbered(4).signed_by(&scene.root)));
    let mut rig = scene.rig.restarted(&[&scene.root.cert]);
    rig.start();
    assert_eq!((rig.numbers(), rig.source(0).rollbacks), (vec!["05".to_owned()], 1));
    assert_eq!(rig.verdict(&[&scene.leaf.cert]), "revoked");
}

#[test]
fn nothing_in_the_cache_is_believed() {
    let scene = Scene::new();
    let file = scene.files().remove(0);
    let namesake = Ca::root("root");
    let good = std::fs::read(&file).unwrap();
    let cases: [(Vec<u8>, &str); 4] = [
        (b"garbage".to_vec(), "holds no CRL"),
        (good[..good.len() / 2].to_vec(), "holds no CRL"),
        (Vec::new(), "holds no CRL"),
        (Made::numbered(6).signed_by(&namesake), "is signed by another key"),
    ];
    for (content, message) in cases {
        std::fs::write(&file, content).unwrap();
        let (rig, findings) = scene.restarted();
        assert_eq!((rig.numbers(), rig.verdict(&[&scene.leaf.cert])), (Vec::new(), "revocation_unknown"), "{message}");
        let said = findings.iter().any(|said| said.contains(message) && said.contains("is ignored"));
        assert!(said, "{message}: {findings:?}");
        assert!(file.exists(), "it is named and left alone");
    }
    std::fs::write(file.with_file_name("readme.txt"), "x").unwrap();
    let (_, findings) = scene.restarted();
    assert!(findings.iter().any(|said| said.contains("readme.txt is no file of the CRL cache")), "{findings:?}");
}

#[test]
fn a_flipped_bit_in_the_cache_is_found() {
    let scene = Scene::new();
    let file = scene.files().remove(0);
    let mut content = std::fs::read(&file).unwrap();
    let position = content.windows(SERIAL.len()).position(|window| window == SERIAL).expect("the serial number");
    content[position] ^= 1;
    std::fs::write(&file, content).unwrap();
    let (rig, findings) = scene.restarted();
    assert_eq!(rig.verdict(&[&scene.leaf.cert]), "revocation_unknown", "{findings:?}");
}

#[test]
fn each_issuer_and_scope_has_one_file_that_its_successor_replaces() {
    let mut scene = Scene::new();
    scene.server.answer(Answer::crl(&Made::numbered(6).signed_by(&scene.root)));
    scene.rig.pass(HOUR);
    let file = scene.files().remove(0);
    let size = std::fs::metadata(&file).unwrap().len();
    while std::fs::metadata(&file).unwrap().len() == size {
        scene.rig.idle();
    }
    assert_eq!(scene.files(), [file]);
    assert_eq!(scene.restarted().0.numbers(), ["06"]);
}

#[test]
fn a_cache_that_cannot_be_written_to_stops_the_start() {
    let root = Ca::root("root");
    let mut rig = Rig::new(&[&root.cert], Revocation::of([source("http://127.0.0.1:9/ca.crl")]));
    let file = rig.path().join("file");
    std::fs::write(&file, "").unwrap();
    rig.settings.cache_dir = Some(located(file.join("cache")));
    let problems = rig.prepare().expect_err("a fatal problem");
    assert!(
        problems[0].fatal && problems[0].message.contains("the folder of the CRL cache cannot be used"),
        "{problems:?}"
    );
}
