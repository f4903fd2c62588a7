//! `evaluate`: evaluates a head on labelled latents, or cross-validates training settings.

use std::{path::PathBuf, rc::Rc};

use inception_web::{
    head::{
        Head,
        evaluate::{Evaluation, evaluate},
    },
    train::CrossValidation,
};

use super::{
    files::read,
    latents::read_tables,
    options::Training,
    output::accuracy,
    result::{CliResult, with_path},
};

#[derive(clap::Args)]
pub struct Args {
    /// Latents files of one base; classes with the same name are merged
    #[arg(required = true, value_name = "LATENTS")]
    latents: Vec<PathBuf>,
    /// Head file to evaluate on all pictures
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "folds",
        conflicts_with = "folds"
    )]
    head: Option<PathBuf>,
    /// Cross-validate with this number of folds: train on all but one fold and evaluate on it, for each fold
    #[arg(long, value_name = "N")]
    folds: Option<usize>,
    #[command(flatten)]
    training: Training,
    /// Print the evaluation as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> CliResult {
    let latents = read_tables(&args.latents)?;
    let names = latents.names.clone();
    let (prefix, evaluation) = match (&args.head, args.folds) {
        (Some(path), _) => {
            let head = with_path(path, Head::read(&read(path)?, &latents.base))?;
            ("", evaluate(&head, &latents))
        }
        (None, folds) => {
            let folds = folds.expect("clap requires a head or folds");
            let mut validation =
                CrossValidation::new(Rc::new(latents), args.training.settings(), folds)?;
            while !validation.is_done() {
                validation.step()?;
                let (done, total) = validation.progress();
                eprint!("\repoch {done} of at most {total} ");
            }
            eprintln!();
            ("cross-validated ", validation.finish())
        }
    };
    if args.json {
        println!(
            "{:#}",
            serde_json::json!({ "names": names, "evaluation": evaluation })
        );
        return Ok(());
    }
    println!("{prefix}{}", accuracy(&evaluation));
    print_classes(&evaluation);
    Ok(())
}

/// Prints the metrics of each class, and the calibration error.
fn print_classes(evaluation: &Evaluation) {
    let percent =
        |share: Option<f64>| share.map_or("-".into(), |share| format!("{:.1}", share * 100.0));
    println!(
        "{:<24}{:>10}{:>11}{:>9}{:>7}",
        "class", "pictures", "precision", "recall", "F1"
    );
    for class in &evaluation.classes {
        let [precision, recall, f1] = [class.precision, class.recall, class.f1].map(percent);
        println!(
            "{:<24}{:>10}{precision:>11}{recall:>9}{f1:>7}",
            class.name, class.pictures
        );
    }
    println!(
        "calibration error {:.1} % (before temperature scaling by {:.2}: {:.1} %)",
        evaluation.calibration_error * 100.0,
        evaluation.temperature,
        evaluation.calibration_error_before * 100.0
    );
}
