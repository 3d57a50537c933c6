//! Compiles `proto/` with protox (pure Rust), so that building needs no `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    // tonic-prost-build 0.14 does not emit these lines. Without them a change of any file rebuilds the crate.
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=vendor");

    let mut files: Vec<PathBuf> =
        fs::read_dir("proto/gantry/v1")?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();

    // The descriptor keeps the comments: they are the manual that `grpcurl describe` shows.
    let mut compiler = protox::Compiler::new(["proto", "vendor"])?;
    compiler.include_imports(true).include_source_info(true).open_files(files)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // The compiler encodes the descriptor. The prost types would lose the options, which hold the rules of
    // the fields.
    fs::write(out.join("descriptor.bin"), compiler.encode_file_descriptor_set())?;

    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    // In order, so that equal answers are equal bytes.
    config.btree_map(["."]);
    tonic_prost_build::configure()
        .generate_default_stubs(true)
        .codec_path("crate::grpc::Codec")
        .compile_fds_with_config(compiler.file_descriptor_set(), config)?;
    Ok(())
}
