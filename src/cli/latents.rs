//! Latents: from pictures by a base, and tables from files.

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
    files::{Outcome, at, project_root, read},
};

/// One picture's latents on the CPU.
pub fn latents(base: &Base, pixels: &Pixels) -> Vec<f32> {
    pollster::block_on(base.latents([&pixels.resize()])).expect("a CPU does not fail")
}

/// A table from a file; where that does not say which base made it, it is taken to be of the default one, and the person is told.
pub fn read_latents(path: &Path) -> Outcome<Latents> {
    let bytes = read(path)?;
    let read = match Latents::read(&bytes, None) {
        Err(Error::UnknownBase) => Latents::read(&bytes, Some(&default_base_id()?)),
        other => other,
    };
    let (latents, notice) = at(path, read)?;
    if let Some(notice) = notice {
        eprintln!("{}: {notice}", path.display());
    }
    Ok(latents)
}

/// The base out of the npm package.
fn default_base_id() -> Outcome<BaseId> {
    let path = default_base_file(&project_root()?)?;
    let bytes = read(&path)?;
    let weights = at(&path, Weights::open(&bytes))?;
    Ok(weights.id())
}

/// Tables of one base joined to one.
pub fn tables(paths: &[PathBuf]) -> Outcome<Latents> {
    let mut all: Option<Latents> = None;
    for path in paths {
        let latents = read_latents(path)?;
        match &mut all {
            None => all = Some(latents),
            Some(all) => at(path, all.append(latents))?,
        }
    }
    Ok(all.expect("clap requires a latents file"))
}
