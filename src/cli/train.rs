//! `train`: trains a head on latents and writes it with its hold-out accuracy.

use std::{path::PathBuf, rc::Rc};

use inception_web::{
    head::{Scores, evaluate::evaluate},
    train::{self, validate},
};

use super::{
    files::write,
    latents::{read_latents, read_tables},
    options::Training,
    output::accuracy,
    result::{CliResult, with_path},
};

#[derive(clap::Args)]
pub struct Args {
    /// Latents files of one base (.safetensors or .npz), written by `extract` or the page; classes with the same name are merged
    #[arg(required = true, value_name = "LATENTS")]
    latents: Vec<PathBuf>,
    /// Head file to write
    #[arg(long, value_name = "FILE", default_value = "head.safetensors")]
    out: PathBuf,
    /// Latents file to measure the accuracy on, instead of the validation split
    #[arg(long, value_name = "LATENTS")]
    test: Option<PathBuf>,
    #[command(flatten)]
    training: Training,
    /// Print the settings, every epoch and the evaluation as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> CliResult {
    let all = Rc::new(read_tables(&args.latents)?);
    let settings = args.training.settings();
    let mut epochs = Vec::new();
    let report = |report: &train::EpochReport| {
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
            with_path(path, test.base.ensure_same(&all.base, "latents"))?;
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
        "trained on {} pictures in {} classes; kept the weights of epoch {} of {}",
        trained.training.len(),
        all.classes.len(),
        trained.best_epoch,
        epochs.len()
    );
    match &evaluation {
        Some(evaluation) => println!("held-out {}", accuracy(evaluation)),
        None => println!("no held-out pictures, so the accuracy is unknown"),
    }
    println!("wrote {}", args.out.display());
    Ok(())
}
