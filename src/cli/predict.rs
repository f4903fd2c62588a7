//! `predict`: pictures -> ranked classes, as text or JSON.

use std::path::PathBuf;

use inception_web::{
    head::{Head, latents::BaseId},
    image::Pixels,
};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::{
    base::load_base,
    files::{Outcome, at, read},
    latents::latents,
    options::PLACES,
};

#[derive(clap::Args)]
pub struct Args {
    /// The pictures to classify
    #[arg(required = true, value_name = "PICTURE")]
    pictures: Vec<PathBuf>,
    /// The head to ask, as `train` writes it; by default the classes that the base itself brings, such as ImageNet's
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    /// The base, as `serve` takes it
    #[arg(long, value_name = PLACES, default_value = "npm")]
    weights: String,
    /// How many classes to tell, best first
    #[arg(long, default_value_t = 3)]
    top: usize,
    /// Print JSON: a list of {file, predictions: [{label, probability}]} or {file, error}
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Outcome {
    let (base, own) = load_base(&args.weights)?;
    let base_id = base.id();
    let head = match args.head {
        Some(path) => at(&path, Head::read(&read(&path)?, &base_id))?,
        None => own.ok_or_else(|| {
            format!(
                "the base {:?} brings no classes of its own; give a head by --head, as `train` writes it",
                base_id.name
            )
        })?,
    };
    let answers: Vec<_> = args
        .pictures
        .par_iter()
        .map(|path| {
            let pixels = at(path, Pixels::decode(&read(path)?))?;
            Outcome::Ok(head.predict(&latents(&base, &pixels), args.top))
        })
        .collect();
    let named = || {
        args.pictures
            .iter()
            .map(|path| path.display().to_string())
            .zip(&answers)
    };
    if args.json {
        let list: Vec<Value> = named()
            .map(|(file, answer)| match answer {
                Ok(predictions) => json!({ "file": file, "predictions": predictions }),
                Err(error) => json!({ "file": file, "error": error.to_string() }),
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&list)?);
    } else {
        for (file, answer) in named() {
            match answer {
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
    match answers.iter().filter(|answer| answer.is_err()).count() {
        0 => Ok(()),
        broken => Err(format!(
            "{broken} of {} pictures could not be classified",
            answers.len()
        )
        .into()),
    }
}
