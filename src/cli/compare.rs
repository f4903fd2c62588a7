//! `compare`: an MLP, a CNN and transfer from Inception on the same pictures, as a table or as a learning curve.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use inception_web::{
    compare::{
        Comparison, Curve, CurveTable, Extraction, ExtractionCost, LatentCache, ModelKind, Options,
        Progress, Score, Split, Stage, Table, place,
    },
    head::latents::{BaseId, Latents},
    image::small::PictureSet,
    weights::Dtype,
};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;

use super::{
    base::load_base,
    files::{Outcome, at, project_root, read, write},
    images,
    latents::latents,
    options::{PLACES, named},
    output::thousands,
};

/// Pictures between two looks at the clock.
const CHUNK: usize = 16;
/// How much reading a broken-off run may lose.
const CHECKPOINT: Duration = Duration::from_secs(20);
/// Pictures that Inception is timed on, one at a time.
const TIMED: usize = 3;

#[derive(clap::Args)]
pub struct Args {
    /// CIFAR-10 (its .bin or Python files, their folder or tarball), or a folder or .zip with a folder per class, perhaps inside of train and test
    #[arg(value_name = "DIR")]
    set: PathBuf,
    /// Which to compare, by commas
    #[arg(long, value_name = "MODELS", value_delimiter = ',', value_parser = named::<ModelKind>, default_value = "mlp,cnn,transfer")]
    models: Vec<ModelKind>,
    /// Training pictures of each class, drawn by the seed; 0 takes all
    #[arg(long, value_name = "N", default_value_t = 0)]
    per_class: usize,
    /// Test pictures of each class; 0 takes all
    #[arg(long, value_name = "N", default_value_t = 0)]
    test_per_class: usize,
    /// Passes over the training pictures; by default each model's own
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Same seed, same pictures: the same table, times apart
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A learning curve instead: accuracy against pictures a class, for these numbers of them
    #[arg(long, value_name = "SIZES", value_delimiter = ',', num_args = 0.., default_missing_value = "10,30,100,300", conflicts_with_all = ["per_class", "seed"])]
    curve: Option<Vec<usize>>,
    /// Trainings for each point of the learning curve
    #[arg(long, value_name = "N", default_value_t = 3, requires = "curve")]
    seeds: u64,
    /// The base, as `serve` takes it
    #[arg(long, value_name = PLACES, default_value = "npm")]
    weights: String,
    /// Print everything as JSON: seed, split, hash of the pictures, layers, epochs, scores, answers
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Outcome {
    let set = Rc::new(images::open(&args.set)?);
    let options = Options {
        ways: args.models.clone(),
        per_class: args.per_class,
        test_per_class: args.test_per_class,
        seed: args.seed,
        epochs: args.epochs,
    };
    let splits = match &args.curve {
        Some(sizes) => Curve::splits(&set, &options, sizes, args.seeds)?,
        None => vec![Split::new(&set, &options)?],
    };
    let reading = match args.models.contains(&ModelKind::Transfer) {
        true => Some(extract(&set, &splits, &args.weights)?),
        false => None,
    };
    match args.curve {
        None => {
            let mut comparison = Comparison::new(set, options, reading)?;
            let bars = Bars::default();
            while !comparison.is_done() {
                bars.show(&comparison.step()?, "");
            }
            bars.clear();
            print(&comparison.finish(), args.json)
        }
        Some(sizes) => {
            let mut curve = Curve::new(set, options, sizes, args.seeds, reading)?;
            let bars = Bars::default();
            while !curve.is_done() {
                let ((run, runs), (size, seed)) = (curve.progress(), curve.run());
                let which = format!(", {size} a class, seed {seed} (run {} of {runs})", run + 1);
                bars.show(&curve.step()?, &which);
            }
            bars.clear();
            print_curve(&curve.finish(), args.json)
        }
    }
}

/// Latents of all pictures of the splits: those kept from earlier runs, and the others read now, on all cores, and kept.
fn extract(set: &PictureSet, splits: &[Split], weights: &str) -> Outcome<Extraction> {
    let (base, _) = load_base(weights)?;
    let base_id = base.id();
    let file = project_root()?
        .join("pkg/latents")
        .join(format!("{}.safetensors", &base_id.fingerprint[..12]));
    let mut known = kept(&file, &base_id);
    let mut rows: Vec<_> = splits.iter().flat_map(Split::rows).collect();
    rows.sort_unstable();
    rows.dedup();
    let all = rows.len();
    let missing = known.missing(set, rows);

    let bar = bar(missing.len(), "Inception reads", "pictures");
    let start = Instant::now();
    let mut saved = Instant::now();
    for chunk in missing.chunks(CHUNK) {
        let read: Vec<_> = chunk
            .par_iter()
            .map(|row| {
                let (pictures, row) = place(set, *row);
                let latents = latents(&base, &pictures.as_pixels(row));
                bar.inc(1);
                (pictures.hash(row), latents)
            })
            .collect();
        for (hash, latents) in read {
            known.insert(hash, &latents);
        }
        if saved.elapsed() > CHECKPOINT {
            write(&file, &known.latents().write(Dtype::F32))?;
            saved = Instant::now();
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    bar.finish_and_clear();
    if !missing.is_empty() {
        write(&file, &known.latents().write(Dtype::F32))?;
    }
    let extraction = ExtractionCost {
        pictures: missing.len(),
        kept: all - missing.len(),
        seconds,
    };
    let timed: Vec<_> = splits[0].test.iter().take(TIMED).collect();
    let start = Instant::now();
    for row in &timed {
        let (pictures, row) = place(set, **row);
        latents(&base, &pictures.as_pixels(row));
    }
    Ok(Extraction {
        milliseconds: start.elapsed().as_secs_f64() * 1000.0 / timed.len() as f64,
        known: Rc::new(known),
        extraction,
    })
}

/// Latents of earlier runs; a file that cannot be used is made again.
fn kept(file: &Path, base_id: &BaseId) -> LatentCache {
    let table = read(file).and_then(|bytes| at(file, Latents::read(&bytes, Some(base_id))));
    match table {
        Ok((latents, _)) => LatentCache::of(latents),
        Err(_) => LatentCache::new(base_id.clone()),
    }
}

/// A bar for each training, and one for each test.
#[derive(Default)]
struct Bars {
    now: std::cell::RefCell<Option<(ModelKind, Stage, String, ProgressBar)>>,
}

impl Bars {
    fn show(&self, progress: &Progress, which: &str) {
        let mut now = self.now.borrow_mut();
        let same = |(way, stage, last, _): &(ModelKind, Stage, String, ProgressBar)| {
            (*way, *stage, last.as_str()) == (progress.way, progress.stage, which)
        };
        if !now.as_ref().is_some_and(same) {
            if let Some((.., bar)) = now.take() {
                bar.finish_and_clear();
            }
            let what = match progress.stage {
                Stage::Train => format!("{} is trained{which}", progress.way.name()),
                Stage::Test => format!("{} is asked{which}", progress.way.name()),
            };
            let bar = bar(progress.total, &what, "pictures");
            *now = Some((progress.way, progress.stage, which.into(), bar));
        }
        if let Some((.., bar)) = now.as_ref() {
            bar.set_position(progress.done as u64);
            if let Some(epoch) = &progress.epoch {
                let (epoch, epochs, loss) = (epoch.epoch, epoch.epochs, epoch.loss);
                bar.set_message(format!("epoch {epoch} of {epochs}, loss {loss:.3}"));
            }
        }
    }

    fn clear(&self) {
        if let Some((.., bar)) = self.now.borrow_mut().take() {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: usize, what: &str, of: &str) -> ProgressBar {
    let style = format!("{what} {{bar:24}} {{pos}}/{{len}} {of}, {{eta}} left {{msg}}");
    ProgressBar::new(total as u64)
        .with_style(ProgressStyle::with_template(&style).expect("a valid template"))
}

fn print(table: &Table, json: bool) -> Outcome {
    if json {
        println!("{}", serde_json::to_string_pretty(table)?);
        return Ok(());
    }
    let from = table.split.test_from;
    println!(
        "{} pictures of {} classes to train on, {} to test on ({}); seed {}, data {}",
        thousands(table.split.training),
        table.data.classes.len(),
        thousands(table.split.test),
        serde_json::to_value(from)?.as_str().unwrap_or_default(),
        table.seed,
        &table.data.sha256[..12]
    );
    println!(
        "{:<20}{:>12}  {:<24}{:<24}{:>10}{:>12}",
        "model", "parameters", "train accuracy", "test accuracy", "train s", "predict ms"
    );
    for model in &table.models {
        println!(
            "{:<20}{:>12}  {:<24}{:<24}{:>10.1}{:>12.2}",
            model.name,
            thousands(model.parameters),
            percent(&model.training),
            percent(&model.test),
            model.train_seconds,
            model.predict_milliseconds,
        );
    }
    for model in &table.models {
        if let Some(extraction) = model.extraction {
            println!(
                "{}: {} more parameters, which stay as they are; Inception read {} pictures in {:.1} s, {} were kept from before",
                model.name,
                thousands(model.frozen_parameters),
                thousands(extraction.pictures),
                extraction.seconds,
                thousands(extraction.kept),
            );
        }
    }
    Ok(())
}

/// `46.4 % (43.3 to 49.5)`.
fn percent(score: &Score) -> String {
    let [low, high] = score.interval.map(|bound| bound * 100.0);
    format!("{:.1} % ({low:.1} to {high:.1})", score.accuracy * 100.0)
}

fn print_curve(curve: &CurveTable, json: bool) -> Outcome {
    if json {
        println!("{}", serde_json::to_string_pretty(curve)?);
        return Ok(());
    }
    println!(
        "test accuracy on {} pictures: mean of {} seeds (lowest to highest); data {}",
        thousands(curve.test),
        curve.seeds.len(),
        &curve.data.sha256[..12]
    );
    print!("{:<20}", "pictures a class");
    curve.sizes.iter().for_each(|size| print!("{size:<24}"));
    println!();
    for way in ModelKind::ALL {
        let points: Vec<_> = curve
            .points
            .iter()
            .filter(|point| point.way == way)
            .collect();
        if points.is_empty() {
            continue;
        }
        print!("{:<20}", way.name());
        for point in points {
            let [mean, low, high] = [point.mean, point.low, point.high].map(|share| share * 100.0);
            print!("{:<24}", format!("{mean:.1} % ({low:.1} to {high:.1})"));
        }
        println!();
    }
    Ok(())
}
