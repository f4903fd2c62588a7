//! `export`: converts a head or a latents file to another format.

use std::path::{Path, PathBuf};

use inception_web::{
    error::Error,
    head::{Head, onnx},
    weights::Dtype,
};

use super::{
    files::{read, write},
    latents::read_latents,
    output::thousands,
    result::{CliResult, with_path},
};

#[derive(clap::Args)]
pub struct Args {
    /// Head file (.safetensors) or latents file (.safetensors or .npz)
    file: PathBuf,
    /// File to write; the extension selects the format. Latents cannot be written as ONNX
    #[arg(long, value_name = "OUT.npz|.onnx|.safetensors")]
    to: PathBuf,
}

pub fn run(args: Args) -> CliResult {
    let format = args.to.extension().unwrap_or_default().to_string_lossy();
    let format = format.to_ascii_lowercase();
    if !matches!(format.as_str(), "npz" | "onnx" | "safetensors") {
        return Err(format!(
            "{}: unknown output format; use the extension .npz, .onnx or .safetensors",
            args.to.display()
        )
        .into());
    }
    let (description, bytes) = match open_head(&args.file)? {
        Some(head) => {
            let description = format!("head {:?} of {} classes", head.name, head.classes.len());
            let bytes = match format.as_str() {
                "npz" => head.write_npz(),
                "onnx" => onnx::write(&head),
                _ => head.write(),
            };
            (description, bytes)
        }
        None => {
            let latents = read_latents(&args.file)?;
            let description = format!(
                "latents of {} pictures in {} classes",
                latents.len(),
                latents.classes.len()
            );
            let bytes = match format.as_str() {
                "npz" => latents.write_npz(),
                "safetensors" => latents.write(Dtype::F32),
                _ => {
                    return Err(format!(
                        "{}: latents cannot be exported as ONNX; use .npz or .safetensors",
                        args.file.display()
                    )
                    .into());
                }
            };
            (description, bytes)
        }
    };
    write(&args.to, &bytes)?;
    println!(
        "wrote {}: {description}, {} bytes",
        args.to.display(),
        thousands(bytes.len())
    );
    Ok(())
}

/// Opens a head file; returns `None` for a file of another type, such as latents.
fn open_head(file: &Path) -> CliResult<Option<Head>> {
    match Head::open(&read(file)?) {
        Ok(head) => Ok(Some(head)),
        Err(Error::Container { .. } | Error::MissingMetadata { .. }) => Ok(None),
        Err(error) => with_path(file, Err(error)),
    }
}
