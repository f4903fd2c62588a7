//! `train`: latents -> `head.safetensors`, with its accuracy on pictures held out.

use std::{path::PathBuf, rc::Rc};

use inception_web::{
    head::{Scores, evaluate::evaluate},
    train::{self, validate},
};

use super::{
    files::{Outcome, at, write},
    latents::{read_latents, tables},
    options::Training,
    output::accuracy,
};

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
            at(path, test.base.must_be(&all.base, "latents"))?;
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
