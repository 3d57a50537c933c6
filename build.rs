//! Compiles `proto/` with protox (pure Rust), so that building needs no `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

use protox::prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    // tonic-prost-build 0.14 does not emit these; without them any changed file rebuilds the crate.
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=vendor");

    let mut files: Vec<PathBuf> =
        fs::read_dir("proto/gantry/v1")?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();

    // The descriptor keeps the comments: they are the manual that `grpcurl describe` shows.
    let descriptor = protox::Compiler::new(["proto", "vendor"])?
        .include_imports(true)
        .include_source_info(true)
        .open_files(files)?
        .file_descriptor_set();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptor.bin"), descriptor.encode_to_vec())?;

    tonic_prost_build::configure().generate_default_stubs(true).compile_fds(descriptor)?;
    Ok(())
}
