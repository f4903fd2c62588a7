//! File access with paths in error messages, and the project's folder.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use inception_web::format::hex;
use sha2::{Digest, Sha256};

use super::result::CliResult;

/// Finds the project's folder: the working directory or its nearest ancestor with `www` and `Cargo.toml`.
pub fn project_root() -> CliResult<PathBuf> {
    let directory = env::current_dir()?;
    let is_project = |folder: &&Path| {
        folder.join("www/index.html").exists() && folder.join("Cargo.toml").exists()
    };
    let root = directory
        .ancestors()
        .find(is_project)
        .map(Path::to_path_buf);
    root.ok_or_else(|| {
        "not inside the project: run this in the folder with inception-web's Cargo.toml and www"
            .into()
    })
}

/// Reads a file.
pub fn read(path: &Path) -> CliResult<Vec<u8>> {
    Ok(fs::read(path).map_err(|error| io_message(path, &error))?)
}

/// Lists a folder's entries sorted by path, without hidden ones.
pub fn entries(folder: &Path) -> CliResult<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|error| io_message(folder, &error))?;
    let mut paths: Vec<_> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.retain(|path| !file_name(path).starts_with('.'));
    paths.sort();
    Ok(paths)
}

/// Returns the file name of a path after resolving it, so that `.` has a name.
pub fn file_name(path: &Path) -> String {
    path.canonicalize()
        .ok()
        .as_deref()
        .unwrap_or(path)
        .file_name()
        .map_or_else(
            || path.display().to_string(),
            |name| name.to_string_lossy().into_owned(),
        )
}

/// Writes a file atomically, by renaming a temporary file in the same folder. Creates missing folders.
pub fn write(path: &Path, bytes: &[u8]) -> CliResult {
    let message = |error: io::Error| io_message(path, &error);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(message)?;
    }
    // Hidden, so that listings of the folder never contain it.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    fs::write(&temporary, bytes).map_err(message)?;
    Ok(fs::rename(&temporary, path).map_err(message)?)
}

/// Writes a text file unless it has this content already.
pub fn write_if_changed(path: &Path, text: &str) -> CliResult {
    match fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        true => Ok(()),
        false => write(path, text.as_bytes()),
    }
}

/// Copies a folder recursively.
pub fn copy_dir(from: &Path, to: &Path) -> CliResult {
    fs::create_dir_all(to).map_err(|error| io_message(to, &error))?;
    for entry in fs::read_dir(from).map_err(|error| io_message(from, &error))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).map_err(|error| io_message(&target, &error))?;
        }
    }
    Ok(())
}

/// SHA-256 as 64 hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn io_message(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
