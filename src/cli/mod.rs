//! The command line: a second consumer of the same library, and the only place that knows the file system.

mod compare;
mod evaluate;
mod export;
mod extract;
mod fetch;
mod licences;
mod pictures;
mod predict;
mod serve;
mod site;
mod train;
mod weights;

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use clap::{Parser, Subcommand};

/// What a subcommand ends with; the message is for a person.
pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Inception V3 image classification that runs in the visitor's own browser.
///
/// Without a subcommand: builds the page if need be and serves it at http://127.0.0.1:8080.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Args,
}

#[derive(Subcommand)]
enum Command {
    /// Build what is missing and serve the page (the default)
    Serve(serve::Args),
    /// Write the page as a static site that any web server can serve from any path
    Build(site::Args),
    /// Convert a base's weights to the file format of the page, or tell what a file is
    Weights(weights::Args),
    /// Print a network's layers, output shapes and parameters, as Keras does
    Summary(weights::SummaryArgs),
    /// Compute the latents of labelled pictures once, for training as often as you like
    Extract(extract::Args),
    /// Train a head on latents and write it with its held-out accuracy
    Train(train::Args),
    /// Tell how good a head is on labelled latents, or cross-validate a way of training
    Evaluate(evaluate::Args),
    /// Compare an MLP, a CNN and transfer from Inception on the same small pictures
    Compare(compare::Args),
    /// Classify pictures with a head
    Predict(predict::Args),
    /// Write a head or latents in another form: .npz for NumPy, .onnx, .safetensors
    Export(export::Args),
}

/// Runs what the arguments ask for.
pub fn run() -> Outcome {
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => serve::run(args),
        Command::Build(args) => site::run(args),
        Command::Weights(args) => weights::run(args),
        Command::Summary(args) => weights::summary(&args),
        Command::Extract(args) => extract::run(args),
        Command::Train(args) => train::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Predict(args) => predict::run(args),
        Command::Export(args) => export::run(args),
    }
}

/// A file's bytes, or a sentence with its path.
fn read(path: &Path) -> Outcome<Vec<u8>> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// A folder's visible entries, sorted by name.
fn entries(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<_> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.retain(|path| !file_name(path).starts_with('.'));
    paths.sort();
    Ok(paths)
}

/// A path's last part, also of `.`.
fn file_name(path: &Path) -> String {
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
fn write(path: &Path, bytes: &[u8]) -> Outcome {
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
fn at<T>(path: &Path, result: Result<T, inception_web::error::Error>) -> Outcome<T> {
    result.map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Puts a thousands separator into a count: 21802784 -> 21,802,784.
fn thousands(count: usize) -> String {
    let digits = count.to_string();
    let groups: Vec<_> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(String::from_utf8_lossy)
        .collect();
    groups.join(",")
}
