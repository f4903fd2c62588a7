//! What commands share: reading and writing files with paths in error messages, and running tools.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use inception_web::format::hex;
use sha2::{Digest, Sha256};

/// What a subcommand ends with; the message is for a person.
pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// A file's bytes, or a sentence with its path.
pub fn read(path: &Path) -> Outcome<Vec<u8>> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// A folder's visible entries, sorted by name.
pub fn entries(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<_> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.retain(|path| !file_name(path).starts_with('.'));
    paths.sort();
    Ok(paths)
}

/// A path's last part, also of `.`.
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

/// Writes a file whole or not at all: beside its place first, then moved there.
pub fn write(path: &Path, bytes: &[u8]) -> Outcome {
    let tell = |error: std::io::Error| format!("{}: {error}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(tell)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    fs::write(&beside, bytes).map_err(tell)?;
    Ok(fs::rename(&beside, path).map_err(tell)?)
}

/// Puts a path before a library's error.
pub fn at<T>(path: &Path, result: Result<T, inception_web::error::Error>) -> Outcome<T> {
    result.map_err(|error| format!("{}: {error}", path.display()).into())
}

/// The project's folder: this one, or the nearest above it.
pub fn project_root() -> Outcome<PathBuf> {
    let here = env::current_dir()?;
    let project = |folder: &&Path| {
        folder.join("www/index.html").exists() && folder.join("Cargo.toml").exists()
    };
    let found = here.ancestors().find(project).map(Path::to_path_buf);
    found.ok_or_else(|| {
        "not inside the project: run this in the folder with inception-web's Cargo.toml and www"
            .into()
    })
}

/// Writes a file unless it is so already: a server that runs may be reading it.
pub fn write_if_changed(path: &Path, text: &str) -> Outcome {
    match fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        true => Ok(()),
        false => write(path, text.as_bytes()),
    }
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) -> Outcome {
    fs::create_dir_all(to).map_err(|error| format!("{}: {error}", to.display()))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(
                fs::copy(entry.path(), &target)
                    .map_err(|error| format!("{}: {error}", target.display()))?,
            ),
        }
    }
    Ok(())
}

/// SHA-256 as 64 hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Runs a tool; its own output is the explanation if it fails.
pub fn run_checked(command: &mut Command, hint: &str) -> Outcome {
    let tool = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{tool} failed ({status}); see its message above").into()),
        Err(error) => Err(format!("{tool} could not be started ({error}); {hint}").into()),
    }
}
