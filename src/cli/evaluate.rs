//! `evaluate`: how good a head is on labelled latents, or, by folds, how good a way of training is.

use std::{path::PathBuf, rc::Rc};

use inception_web::{
    head::{
        Head,
        evaluate::{Evaluation, evaluate},
    },
    train::CrossValidation,
};

use super::{
    files::{Outcome, at, read},
    latents::tables,
    options::Training,
    output::accuracy,
};

#[derive(clap::Args)]
pub struct Args {
    /// Latents files of one base; classes are joined by name
    #[arg(required = true, value_name = "LATENTS")]
    latents: Vec<PathBuf>,
    /// The head to ask about every picture
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "folds",
        conflicts_with = "folds"
    )]
    head: Option<PathBuf>,
    /// Train anew on all but one part of the pictures and ask about that part, for each of so many parts
    #[arg(long, value_name = "PARTS")]
    folds: Option<usize>,
    #[command(flatten)]
    training: Training,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Outcome {
    let latents = tables(&args.latents)?;
    let names = latents.names.clone();
    let (how, evaluation) = match (&args.head, args.folds) {
        (Some(path), _) => {
            let head = at(path, Head::read(&read(path)?, &latents.base))?;
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
    println!("{how}{}", accuracy(&evaluation));
    print_classes(&evaluation);
    Ok(())
}

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
        "calibration error {:.1} % (before the temperature of {:.2}: {:.1} %)",
        evaluation.calibration_error * 100.0,
        evaluation.temperature,
        evaluation.calibration_error_before * 100.0
    );
}
