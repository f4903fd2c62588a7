//! Computes latents, and reads latents files.

use std::path::{Path, PathBuf};

use inception_web::{
    base::Base,
    error::Error,
    head::latents::{BaseId, Latents},
    image::Pixels,
    weights::Weights,
};

use super::{
    base::default_base_file,
    files::{project_root, read},
    result::{CliResult, with_path},
};

/// Computes the latents of a picture on the CPU.
pub fn compute_latents(base: &Base, pixels: &Pixels) -> Vec<f32> {
    pollster::block_on(base.latents([&pixels.resize()])).expect("the CPU cannot fail")
}

/// Reads a latents file. A file without a base is assumed to be of the default base, and a notice is printed.
pub fn read_latents(path: &Path) -> CliResult<Latents> {
    let bytes = read(path)?;
    let read = match Latents::read(&bytes, None) {
        Err(Error::UnknownBase) => Latents::read(&bytes, Some(&default_base_id()?)),
        other => other,
    };
    let (latents, notice) = with_path(path, read)?;
    if let Some(notice) = notice {
        eprintln!("{}: {notice}", path.display());
    }
    Ok(latents)
}

/// Reads latents files of one base into one table. Classes with the same name are merged.
pub fn read_tables(paths: &[PathBuf]) -> CliResult<Latents> {
    let mut merged: Option<Latents> = None;
    for path in paths {
        let latents = read_latents(path)?;
        match &mut merged {
            None => merged = Some(latents),
            Some(merged) => with_path(path, merged.append(latents))?,
        }
    }
    Ok(merged.expect("clap requires a latents file"))
}

fn default_base_id() -> CliResult<BaseId> {
    let path = default_base_file(&project_root()?)?;
    let bytes = read(&path)?;
    Ok(with_path(&path, Weights::open(&bytes))?.id())
}
