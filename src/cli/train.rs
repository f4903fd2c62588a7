//! `train`: latents -> `head.safetensors`, with its accuracy on pictures held out.

use std::{path::PathBuf, rc::Rc};

use inception_web::{
    evaluate::{Evaluation, evaluate, validate},
    head::Scores,
    latents::Latents,
    train::{self, ClassWeights, Optimizer, Settings},
};
use serde::de::DeserializeOwned;

use super::{Outcome, at, extract::read_latents, write};

#[derive(clap::Args)]
pub struct Args {
    /// Latents files of one base, as `extract` or the page writes them (.safetensors or .npz); classes are joined by name
    #[arg(required = true, value_name = "LATENTS")]
    latents: Vec<PathBuf>,
    /// The head to write
    #[arg(long, value_name = "FILE", default_value = "head.safetensors")]
    out: PathBuf,
    /// Latents to measure the accuracy on, instead of the pictures held out to validate on
    #[arg(long, value_name = "LATENTS")]
    test: Option<PathBuf>,
    #[command(flatten)]
    training: Training,
    /// Print the settings, every epoch and the evaluation as JSON
    #[arg(long)]
    json: bool,
}

/// How to train: the page's settings, with the same defaults.
#[derive(clap::Args)]
pub struct Training {
    /// A short name for people
    #[arg(long, default_value_t = Settings::default().name)]
    name: String,
    /// Units of a hidden layer; 0 for a linear head
    #[arg(long, default_value_t = Settings::default().hidden)]
    hidden: usize,
    /// Share of the hidden units left out in each step
    #[arg(long, default_value_t = Settings::default().dropout)]
    dropout: f32,
    /// adamw or adam
    #[arg(long, default_value = "adamw", value_parser = named::<Optimizer>)]
    optimizer: Optimizer,
    /// Step size at the start; it falls along half a cosine
    #[arg(long, default_value_t = Settings::default().learning_rate)]
    learning_rate: f64,
    /// AdamW's decay of the weights; adam has none
    #[arg(long, default_value_t = Settings::default().weight_decay)]
    weight_decay: f64,
    /// Pictures a step
    #[arg(long, default_value_t = Settings::default().batch)]
    batch: usize,
    /// Passes over the training pictures, at most
    #[arg(long, default_value_t = Settings::default().epochs)]
    epochs: usize,
    /// Share of the target that is spread over all classes
    #[arg(long, default_value_t = Settings::default().label_smoothing)]
    label_smoothing: f32,
    /// none, or balanced: all classes count alike, however many pictures they have
    #[arg(long, default_value = "none", value_parser = named::<ClassWeights>)]
    class_weights: ClassWeights,
    /// Same seed, same latents: the same head
    #[arg(long, default_value_t = Settings::default().seed)]
    seed: u64,
    /// Share of each class held out to validate on
    #[arg(long, default_value_t = Settings::default().validation)]
    validation: f64,
    /// Epochs without a lower validation loss after which training ends; 0 never ends early
    #[arg(long, default_value_t = Settings::default().patience)]
    patience: usize,
}

impl Training {
    pub fn settings(self) -> Settings {
        Settings {
            hidden: self.hidden,
            dropout: self.dropout,
            optimizer: self.optimizer,
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay,
            batch: self.batch,
            epochs: self.epochs,
            label_smoothing: self.label_smoothing,
            class_weights: self.class_weights,
            seed: self.seed,
            validation: self.validation,
            patience: self.patience,
            name: self.name,
        }
    }
}

/// A choice by the name that it has in files and in the page.
pub fn named<T: DeserializeOwned>(name: &str) -> Result<T, String> {
    serde_json::from_value(name.into()).map_err(|error: serde_json::Error| error.to_string())
}

pub fn run(args: Args) -> Outcome {
    let all = Rc::new(tables(&args.latents)?);
    let settings = args.training.settings();
    let mut epochs = Vec::new();
    let report = |report: &train::Report| {
        let validation = report
            .validation_loss
            .map_or(String::new(), |loss| format!(", validation {loss:.4}"));
        eprint!(
            "\repoch {} of {}: loss {:.4}{validation} ",
            report.epoch, report.epochs, report.loss
        );
        epochs.push(report.clone());
    };
    let mut trained = train::train(&all, settings.clone(), report)?;
    eprintln!();
    let validation = validate(&mut trained, &all);
    let evaluation = match &args.test {
        Some(path) => {
            let test = read_latents(path)?;
            at(path, test.stamp.must_be(&all.stamp, "latents"))?;
            Some(evaluate(&trained.head, &test))
        }
        None => validation,
    };
    trained.head.scores = evaluation.as_ref().map(|e| Scores {
        correct: e.correct,
        total: e.total,
    });
    write(&args.out, &trained.head.write())?;
    if args.json {
        let report = serde_json::json!({
            "settings": settings, "pictures": trained.training.len(), "epochs": epochs, "bestEpoch": trained.best_epoch,
            "evaluation": evaluation,
        });
        println!("{report:#}");
        return Ok(());
    }
    println!(
        "trained on {} pictures in {} classes; epoch {} of {} kept",
        trained.training.len(),
        all.classes.len(),
        trained.best_epoch,
        epochs.len()
    );
    match &evaluation {
        Some(evaluation) => println!("held-out {}", accuracy(evaluation)),
        None => println!("no picture was held out, so the accuracy is unknown"),
    }
    println!("{}: written", args.out.display());
    Ok(())
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

/// `accuracy 48.7 % of 1000 pictures (95 % interval 45.6 to 51.8 %)`.
pub fn accuracy(evaluation: &Evaluation) -> String {
    let [low, high] = evaluation.interval.map(|bound| bound * 100.0);
    let accuracy = evaluation.accuracy * 100.0;
    let total = evaluation.total;
    format!("accuracy {accuracy:.1} % of {total} pictures (95 % interval {low:.1} to {high:.1} %)")
}
