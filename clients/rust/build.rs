//! Compiles `proto/` with protox (pure Rust), so that building needs no `protoc`. Must not know the daemon's
//! build.

use std::{env, error::Error, fs, path::PathBuf};

use protox::prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let (proto, vendor) = ("../../proto", "../../vendor");
    // tonic-prost-build 0.14 does not emit these lines. Without them a change of any file rebuilds the crate.
    println!("cargo:rerun-if-changed={proto}");
    println!("cargo:rerun-if-changed={vendor}");

    let mut files: Vec<PathBuf> = fs::read_dir(PathBuf::from(proto).join("gantry/v1"))?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    files.sort();

    let commented = protox::Compiler::new([proto, vendor])?
        .include_imports(true)
        .include_source_info(true)
        .open_files(files)?
        .file_descriptor_set();

    // Clients use the descriptor for JSON only, and comments are most of its size.
    let mut bare = commented.clone();
    for file in &mut bare.file {
        file.source_code_info = None;
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptor.bin"), bare.encode_to_vec())?;

    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .btree_map(".") // a printed map always has the same order
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .generate_default_stubs(true)
        .compile_fds_with_config(commented, config)?;
    Ok(())
}
