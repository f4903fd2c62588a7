//! The command line: a second consumer of the same library, and the only place that knows the file system.

mod base;
mod build;
mod compare;
mod evaluate;
mod export;
mod extract;
mod fetch;
mod files;
mod images;
mod latents;
mod npm;
mod options;
mod output;
mod predict;
mod serve;
mod site;
mod summary;
mod train;
mod weights;

use clap::{Parser, Subcommand};

use files::Outcome;

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
    Build(build::Args),
    /// Convert a base's weights to the file format of the page, or tell what a file is
    Weights(weights::Args),
    /// Print a network's layers, output shapes and parameters, as Keras does
    Summary(summary::Args),
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
        Command::Build(args) => build::run(args),
        Command::Weights(args) => weights::run(args),
        Command::Summary(args) => summary::run(&args),
        Command::Extract(args) => extract::run(args),
        Command::Train(args) => train::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Predict(args) => predict::run(args),
        Command::Export(args) => export::run(args),
    }
}
