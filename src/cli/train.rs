//! `train`: latents -> `head.safetensors`, with accuracy on pictures held out.

use std::path::PathBuf;

use inception_web::{
    evaluate::evaluate,
    head::Head,
    latents::Latents,
    train::{self, Settings},
};

use super::{Outcome, at, extract, write};

#[derive(clap::Args)]
pub struct Args {
    /// Latents files of one base and the same classes, as `extract` writes them
    #[arg(required = true, value_name = "LATENTS")]
    latents: Vec<PathBuf>,
    /// The head to write
    #[arg(long, value_name = "FILE", default_value = "head.safetensors")]
    out: PathBuf,
    /// Latents to measure the accuracy on; without it, one picture in five of each class is held out of training
    #[arg(long, value_name = "LATENTS")]
    test: Option<PathBuf>,
    /// A short name for people
    #[arg(long, default_value = "my classes")]
    name: String,
    /// Units of a hidden layer; 0 for a linear head
    #[arg(long, default_value_t = 0)]
    hidden: usize,
    /// Passes over all pictures
    #[arg(long, default_value_t = 20)]
    epochs: usize,
    /// AdamW's step size at the start
    #[arg(long, default_value_t = 5e-4)]
    learning_rate: f64,
    /// AdamW's weight decay
    #[arg(long, default_value_t = 1.0)]
    weight_decay: f32,
    /// Pictures a step
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Same seed, same latents: the same head
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub fn run(args: Args) -> Outcome {
    let mut all: Option<Latents> = None;
    for path in &args.latents {
        let latents = extract::read_latents(path)?;
        match &mut all {
            None => all = Some(latents),
            Some(all) => at(path, all.append(latents))?,
        }
    }
    let all = all.expect("clap requires a latents file");
    let (training, held_out) = match &args.test {
        Some(path) => {
            let test = extract::read_latents(path)?;
            at(path, test.stamp.must_be(&all.stamp, "latents"))?;
            (all, test)
        }
        None => all.split(5),
    };
    let settings = Settings {
        hidden: (args.hidden > 0).then_some(args.hidden),
        epochs: args.epochs,
        learning_rate: args.learning_rate,
        weight_decay: args.weight_decay,
        batch: args.batch,
        seed: args.seed,
    };
    let report = |report: train::Report| {
        eprint!(
            "\repoch {} of {}: loss {:.4} ",
            report.epoch, args.epochs, report.loss
        )
    };
    let mut head: Head = train::train(&training, settings, &args.name, report)?;
    eprintln!();
    println!(
        "trained on {} pictures in {} classes",
        training.len(),
        training.classes.len()
    );
    if held_out.is_empty() {
        println!("no picture was held out, so the accuracy is unknown");
    } else {
        let scores = evaluate(&head, &held_out);
        let [low, high] = scores.interval().map(|bound| bound * 100.0);
        let accuracy = scores.accuracy() * 100.0;
        println!(
            "held-out accuracy {accuracy:.1} % of {} pictures (95 % interval {low:.1} to {high:.1} %)",
            scores.total
        );
        head.scores = Some(scores);
    }
    write(&args.out, &head.write())?;
    println!("{}: written", args.out.display());
    Ok(())
}
