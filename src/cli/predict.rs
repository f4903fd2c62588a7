//! `predict`: classifies pictures with a head, as text or JSON.

use std::path::PathBuf;

use inception_web::{head::Head, image::Pixels};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::{
    base::load_base,
    files::read,
    latents::compute_latents,
    options::WEIGHTS_VALUE,
    result::{CliResult, with_path},
};

#[derive(clap::Args)]
pub struct Args {
    /// Pictures to classify
    #[arg(required = true, value_name = "PICTURE")]
    pictures: Vec<PathBuf>,
    /// Head file, written by `train` [default: the classifier of the base, if its file includes one]
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    /// Base to use; `serve --help` describes the values
    #[arg(long, value_name = WEIGHTS_VALUE, default_value = "npm")]
    weights: String,
    /// Number of most probable classes to print
    #[arg(long, default_value_t = 3)]
    top: usize,
    /// Print JSON: a list of {file, predictions: [{label, probability}]} or {file, error}
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> CliResult {
    let (base, classifier) = load_base(&args.weights)?;
    let head = match args.head {
        Some(path) => with_path(&path, Head::read(&read(&path)?, &base.id()))?,
        None => classifier.ok_or_else(|| {
            format!(
                "the file of the base {:?} includes no classifier; pass a head with --head (see `train --help`)",
                base.info.name
            )
        })?,
    };
    let results: Vec<_> = args
        .pictures
        .par_iter()
        .map(|path| {
            let pixels = with_path(path, Pixels::decode(&read(path)?))?;
            CliResult::Ok(head.predict(&compute_latents(&base, &pixels), args.top))
        })
        .collect();
    let results_by_file = || {
        args.pictures
            .iter()
            .map(|path| path.display().to_string())
            .zip(&results)
    };
    if args.json {
        let list: Vec<Value> = results_by_file()
            .map(|(file, result)| match result {
                Ok(predictions) => json!({ "file": file, "predictions": predictions }),
                Err(error) => json!({ "file": file, "error": error.to_string() }),
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&list)?);
    } else {
        for (file, result) in results_by_file() {
            match result {
                Ok(predictions) => {
                    let ranked: Vec<_> = predictions
                        .iter()
                        .map(|p| format!("{} {:.1} %", p.label, p.probability * 100.0))
                        .collect();
                    println!("{file}: {}", ranked.join(", "));
                }
                Err(error) => eprintln!("{error}"),
            }
        }
    }
    match results.iter().filter(|result| result.is_err()).count() {
        0 => Ok(()),
        failed => Err(format!(
            "{failed} of {} pictures could not be classified",
            results.len()
        )
        .into()),
    }
}
