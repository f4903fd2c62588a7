//! `compare`: trains an MLP, a CNN and a head on Inception's latents on the same pictures; prints a table or a learning curve.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, Instant},
};

use inception_web::{
    compare::{
        Comparison, ComparisonReport, Extraction, ExtractionCost, LatentCache, LearningCurve,
        LearningCurveReport, ModelKind, Options, Progress, Score, Split, Stage, locate,
    },
    head::latents::{BaseId, Latents},
    image::small::PictureSet,
    weights::Dtype,
};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;

use super::{
    base::load_base,
    files::{project_root, read, write},
    images,
    latents::compute_latents,
    options::{WEIGHTS_VALUE, from_name},
    output::thousands,
    result::{CliResult, with_path},
};

/// Pictures between two checks whether a checkpoint is due.
const CHUNK: usize = 16;
/// Time between checkpoints of the latents, the most work that an interrupted run can lose.
const CHECKPOINT: Duration = Duration::from_secs(20);
/// Pictures to time Inception on, one at a time.
const TIMED: usize = 3;

#[derive(clap::Args)]
pub struct Args {
    /// CIFAR-10 (.bin or Python files, their folder or tarball), or a folder or .zip with a folder per class, optionally inside train and test folders
    #[arg(value_name = "DIR")]
    set: PathBuf,
    /// Models to compare, separated by commas
    #[arg(long, value_name = "MODELS", value_delimiter = ',', value_parser = from_name::<ModelKind>, default_value = "mlp,cnn,transfer")]
    models: Vec<ModelKind>,
    /// Training pictures per class, a random sample; 0 uses all
    #[arg(long, value_name = "N", default_value_t = 0)]
    per_class: usize,
    /// Test pictures per class; 0 uses all
    #[arg(long, value_name = "N", default_value_t = 0)]
    test_per_class: usize,
    /// Number of epochs [default: depends on the model]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Random seed; the same seed and pictures give the same table, except for times
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print a learning curve instead: test accuracy for each of these numbers of training pictures per class
    #[arg(long, value_name = "SIZES", value_delimiter = ',', num_args = 0.., default_missing_value = "10,30,100,300", conflicts_with_all = ["per_class", "seed"])]
    curve: Option<Vec<usize>>,
    /// Training runs per point of the learning curve, each with another seed
    #[arg(long, value_name = "N", default_value_t = 3, requires = "curve")]
    seeds: u64,
    /// Base of the transfer model; `serve --help` describes the values
    #[arg(long, value_name = WEIGHTS_VALUE, default_value = "npm")]
    weights: String,
    /// Print all results as JSON: seed, split, hash of the pictures, layers, epochs, scores, predictions
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> CliResult {
    let set = Rc::new(images::open_set(&args.set)?);
    let options = Options {
        models: args.models.clone(),
        per_class: args.per_class,
        test_per_class: args.test_per_class,
        seed: args.seed,
        epochs: args.epochs,
    };
    let splits = match &args.curve {
        Some(sizes) => LearningCurve::splits(&set, &options, sizes, args.seeds)?,
        None => vec![Split::new(&set, &options)?],
    };
    let extraction = match args.models.contains(&ModelKind::Transfer) {
        true => Some(extract(&set, &splits, &args.weights)?),
        false => None,
    };
    match args.curve {
        None => {
            let mut comparison = Comparison::new(set, options, extraction)?;
            let mut bar = StageBar::default();
            while !comparison.is_done() {
                bar.show(&comparison.step()?, "");
            }
            bar.clear();
            print(&comparison.finish(), args.json)
        }
        Some(sizes) => {
            let mut curve = LearningCurve::new(set, options, sizes, args.seeds, extraction)?;
            let mut bar = StageBar::default();
            while !curve.is_done() {
                let ((run, runs), (size, seed)) = (curve.progress(), curve.current());
                let run = format!(
                    ", {size} pictures per class, seed {seed} (run {} of {runs})",
                    run + 1
                );
                bar.show(&curve.step()?, &run);
            }
            bar.clear();
            print_curve(&curve.finish(), args.json)
        }
    }
}

/// Returns the latents of all pictures of the splits. Computes those that are not in the cache file on all cores, and caches them.
fn extract(set: &PictureSet, splits: &[Split], weights: &str) -> CliResult<Extraction> {
    let (base, _) = load_base(weights)?;
    let base_id = base.id();
    let file = project_root()?
        .join("pkg/latents")
        .join(format!("{}.safetensors", &base_id.fingerprint[..12]));
    let mut cache = open_cache(&file, &base_id);
    let mut rows: Vec<_> = splits.iter().flat_map(Split::rows).collect();
    rows.sort_unstable();
    rows.dedup();
    let total = rows.len();
    let missing = cache.missing(set, rows);

    let bar = progress_bar(missing.len(), "computing latents");
    let start = Instant::now();
    let mut saved = Instant::now();
    for chunk in missing.chunks(CHUNK) {
        let computed: Vec<_> = chunk
            .par_iter()
            .map(|row| {
                let (pictures, row) = locate(set, *row);
                let latents = compute_latents(&base, &pictures.as_pixels(row));
                bar.inc(1);
                (pictures.hash(row), latents)
            })
            .collect();
        for (hash, latents) in computed {
            cache.insert(hash, &latents);
        }
        if saved.elapsed() > CHECKPOINT {
            write(&file, &cache.latents().write(Dtype::F32))?;
            saved = Instant::now();
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    bar.finish_and_clear();
    if !missing.is_empty() {
        write(&file, &cache.latents().write(Dtype::F32))?;
    }
    let cost = ExtractionCost {
        pictures: missing.len(),
        kept: total - missing.len(),
        seconds,
    };
    let timed: Vec<_> = splits[0].test.iter().take(TIMED).collect();
    let start = Instant::now();
    for row in &timed {
        let (pictures, row) = locate(set, **row);
        compute_latents(&base, &pictures.as_pixels(row));
    }
    Ok(Extraction {
        milliseconds: start.elapsed().as_secs_f64() * 1000.0 / timed.len() as f64,
        cache: Rc::new(cache),
        cost,
    })
}

/// Opens the latents of earlier runs, or an empty cache if the file is missing or invalid.
fn open_cache(file: &Path, base_id: &BaseId) -> LatentCache {
    let table = read(file).and_then(|bytes| with_path(file, Latents::read(&bytes, Some(base_id))));
    match table {
        Ok((latents, _)) => LatentCache::from_latents(latents),
        Err(_) => LatentCache::new(base_id.clone()),
    }
}

/// Shows one progress bar at a time, a new one for each training and each test.
#[derive(Default)]
struct StageBar {
    current: Option<((ModelKind, Stage, String), ProgressBar)>,
}

impl StageBar {
    /// Updates the bar. `run` is appended to its label.
    fn show(&mut self, progress: &Progress, run: &str) {
        let key = (progress.model, progress.stage, run.to_string());
        if self.current.as_ref().is_none_or(|(last, _)| *last != key) {
            self.clear();
            let verb = match progress.stage {
                Stage::Train => "training",
                Stage::Test => "testing",
            };
            let label = format!("{verb} {}{run}", progress.model.name());
            self.current = Some((key, progress_bar(progress.total, &label)));
        }
        if let Some((_, bar)) = &self.current {
            bar.set_position(progress.done as u64);
            if let Some(epoch) = &progress.epoch {
                let (epoch, epochs, loss) = (epoch.epoch, epoch.epochs, epoch.loss);
                bar.set_message(format!("epoch {epoch} of {epochs}, loss {loss:.3}"));
            }
        }
    }

    fn clear(&mut self) {
        if let Some((_, bar)) = self.current.take() {
            bar.finish_and_clear();
        }
    }
}

fn progress_bar(total: usize, label: &str) -> ProgressBar {
    let style = format!("{label} {{bar:24}} {{pos}}/{{len}} pictures, {{eta}} left {{msg}}");
    ProgressBar::new(total as u64)
        .with_style(ProgressStyle::with_template(&style).expect("a valid template"))
}

fn print(table: &ComparisonReport, json: bool) -> CliResult {
    if json {
        println!("{}", serde_json::to_string_pretty(table)?);
        return Ok(());
    }
    println!(
        "{} training pictures in {} classes, {} test pictures ({}); seed {}, data {}",
        thousands(table.split.training),
        table.data.classes.len(),
        thousands(table.split.test),
        serde_json::to_value(table.split.test_from)?
            .as_str()
            .unwrap_or_default(),
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
                "{}: {} frozen parameters of the base; computed the latents of {} pictures in {:.1} s, {} were cached",
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

/// Formats an accuracy with its confidence interval: `46.4 % (43.3 to 49.5)`.
fn percent(score: &Score) -> String {
    let [low, high] = score.interval.map(|bound| bound * 100.0);
    format!("{:.1} % ({low:.1} to {high:.1})", score.accuracy * 100.0)
}

fn print_curve(curve: &LearningCurveReport, json: bool) -> CliResult {
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
    print!("{:<20}", "pictures per class");
    curve.sizes.iter().for_each(|size| print!("{size:<24}"));
    println!();
    for model in ModelKind::ALL {
        let points: Vec<_> = curve
            .points
            .iter()
            .filter(|point| point.model == model)
            .collect();
        if points.is_empty() {
            continue;
        }
        print!("{:<20}", model.name());
        for point in points {
            let [mean, low, high] = [point.mean, point.low, point.high].map(|share| share * 100.0);
            print!("{:<24}", format!("{mean:.1} % ({low:.1} to {high:.1})"));
        }
        println!();
    }
    Ok(())
}
