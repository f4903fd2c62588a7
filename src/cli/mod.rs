//! The command line: parses the arguments and runs a command. The library itself does not access the file system.

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
mod process;
mod result;
mod serve;
mod site;
mod summary;
mod train;
mod weights;

use clap::{Parser, Subcommand};

use result::CliResult;

/// Inception V3 image classification that runs in the browser.
///
/// Without a command, builds the page if needed and serves it at http://127.0.0.1:8080.
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
    /// Serve the page, and build what is missing or outdated first (the default command)
    Serve(serve::Args),
    /// Build the page as a static site that any web server can serve from any path
    Build(build::Args),
    /// Convert Inception V3 weights to the native format, or describe a weights file
    Weights(weights::Args),
    /// Print the layers, output shapes and parameter counts of a network, as Keras does
    Summary(summary::Args),
    /// Compute the latents of labelled pictures and write them to a file for training
    Extract(extract::Args),
    /// Train a head on latents and measure its accuracy on a validation split
    Train(train::Args),
    /// Evaluate a head on labelled latents, or cross-validate training settings
    Evaluate(evaluate::Args),
    /// Compare an MLP, a CNN and transfer learning from Inception on the same small pictures
    Compare(compare::Args),
    /// Classify pictures with a head
    Predict(predict::Args),
    /// Convert a head or latents to .npz (NumPy), .onnx or .safetensors
    Export(export::Args),
}

/// Parses the arguments of the process and runs the command.
pub fn run() -> CliResult {
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
