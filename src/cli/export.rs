//! `export`: a head or a table of latents in the form that another program reads.

use std::path::{Path, PathBuf};

use inception_web::{
    error::Error,
    head::{Head, onnx},
    weights::Dtype,
};

use super::{
    files::{Outcome, at, read, write},
    latents::read_latents,
    output::thousands,
};

#[derive(clap::Args)]
pub struct Args {
    /// A head as `train` writes it, or latents, `.safetensors` or `.npz`
    file: PathBuf,
    /// The file to write; its extension decides the form. ONNX takes heads alone
    #[arg(long, value_name = "OUT.npz|.onnx|.safetensors")]
    to: PathBuf,
}

pub fn run(args: Args) -> Outcome {
    let form = args.to.extension().unwrap_or_default().to_string_lossy();
    let form = form.to_ascii_lowercase();
    if !matches!(form.as_str(), "npz" | "onnx" | "safetensors") {
        return Err(format!(
            "{}: the extension decides the form; use .npz, .onnx or .safetensors",
            args.to.display()
        )
        .into());
    }
    let (what, bytes) = match head(&args.file)? {
        Some(head) => {
            let what = format!("head {:?} of {} classes", head.name, head.classes.len());
            let bytes = match form.as_str() {
                "npz" => head.write_npz(),
                "onnx" => onnx::write(&head),
                _ => head.write(),
            };
            (what, bytes)
        }
        None => {
            let latents = read_latents(&args.file)?;
            let what = format!(
                "latents of {} pictures in {} classes",
                latents.len(),
                latents.classes.len()
            );
            let bytes = match form.as_str() {
                "npz" => latents.write_npz(),
                "safetensors" => latents.write(Dtype::F32),
                _ => {
                    return Err(format!(
                        "{}: latents are a table, and ONNX takes a head; use .npz or .safetensors",
                        args.file.display()
                    )
                    .into());
                }
            };
            (what, bytes)
        }
    };
    write(&args.to, &bytes)?;
    println!(
        "{}: {what}, {} bytes",
        args.to.display(),
        thousands(bytes.len())
    );
    Ok(())
}

/// The head in a file; none where it is something else, latents as may be.
fn head(file: &Path) -> Outcome<Option<Head>> {
    match Head::open(&read(file)?) {
        Ok(head) => Ok(Some(head)),
        Err(Error::Container { .. } | Error::MissingMetadata { .. }) => Ok(None),
        Err(error) => at(file, Err(error)),
    }
}
