//! Writes the seeds of every target to `corpus/`.

use std::fs;
use std::io;
use std::path::Path;

// It is instrumented like the targets, so what counts their branches has to be there.
use libfuzzer_sys as _;
use mantlet_fuzz::seeds;

fn main() -> io::Result<()> {
    write("crl", &seeds::files())?;
    write("signed_crl", &seeds::lists().iter().map(|list| list.concat()).collect::<Vec<_>>())?;
    write("distribution_points", &seeds::distribution_points())
}

fn write(target: &str, seeds: &[Vec<u8>]) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    for (position, seed) in seeds.iter().enumerate() {
        fs::write(folder.join(format!("seed-{position:02}")), seed)?;
    }
    println!("{}: {} seeds", folder.display(), seeds.len());
    Ok(())
}
