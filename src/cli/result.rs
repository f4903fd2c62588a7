//! The result type of all commands.

use std::{error::Error, path::Path};

/// A result whose error message is printed as is.
pub type CliResult<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Prefixes an error of the library with the path of the file that caused it.
pub fn with_path<T>(path: &Path, result: Result<T, inception_web::error::Error>) -> CliResult<T> {
    result.map_err(|error| format!("{}: {error}", path.display()).into())
}
