//! `extract`: computes the latents of labelled pictures on all cores; an interrupted run can be resumed.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    str::FromStr,
    time::{Duration, Instant},
};

use inception_web::{
    error::Error,
    head::latents::{BaseId, Latents},
    image::{
        Pixels,
        small::{SIDE, rgba},
    },
};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;

use super::{
    base::load_base,
    files::{entries, file_name, read, write},
    images,
    latents::compute_latents,
    options::{DtypeArg, WEIGHTS_VALUE},
    result::{CliResult, with_path},
};

/// Pictures between two checks whether a checkpoint is due.
const CHUNK: usize = 16;
/// Time between checkpoints, the most work that an interrupted run can lose.
const CHECKPOINT: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub struct Args {
    /// Folder with a folder per class, folder of pictures, picture files, or CIFAR-10 (files, folder or tarball)
    #[arg(required = true)]
    input: Vec<PathBuf>,
    /// Latents file to write [default: latents.safetensors, or latents-I-of-N.safetensors with --shard]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Process only every N-th picture, starting at the I-th, to split the work between N machines; `train` and the page merge the files
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Number type of the latents in the file: f32 (8 kB per picture), f16 (4 kB) or u8 (2 kB)
    #[arg(long, value_enum, default_value = "f32")]
    dtype: DtypeArg,
    /// Base to use; `serve --help` describes the values
    #[arg(long, value_name = WEIGHTS_VALUE, default_value = "npm")]
    weights: String,
}

/// Every `count`-th picture, so that a shard has pictures of each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shard {
    /// Starts at 1.
    number: usize,
    count: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let parts = text.split_once('/');
        let numbers = parts.and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match numbers {
            Some((number, count)) if (1..=count).contains(&number) => Ok(Shard { number, count }),
            _ => Err("expected I/N, such as 2/8, with I from 1 to N".into()),
        }
    }
}

/// A labelled picture that is not decoded yet.
struct Item {
    name: String,
    label: i64,
    source: Source,
}

enum Source {
    File(PathBuf),
    /// Planes `[3, 32, 32]`.
    Small(Vec<u8>),
}

pub fn run(args: Args) -> CliResult {
    let (base, _) = load_base(&args.weights)?;
    let (classes, mut items) = list_pictures(&args.input)?;
    let mut out = PathBuf::from("latents.safetensors");
    if let Some(Shard { number, count }) = args.shard {
        items = items.into_iter().skip(number - 1).step_by(count).collect();
        if items.is_empty() {
            return Err(format!("shard {number}/{count} has no pictures; use fewer shards").into());
        }
        out = format!("latents-{number}-of-{count}.safetensors").into();
    }
    let out = args.out.unwrap_or(out);
    let base_id = base.id();
    let partial = PathBuf::from(format!("{}.partial", out.display()));
    let mut table =
        resume(&partial, &base_id, &classes)?.unwrap_or_else(|| Latents::new(base_id, classes));

    let done: HashSet<_> = table.names.iter().cloned().collect();
    let remaining: Vec<_> = items
        .into_iter()
        .filter(|item| !done.contains(&item.name))
        .collect();
    if !done.is_empty() {
        eprintln!(
            "resuming after {} pictures of an earlier run ({})",
            done.len(),
            partial.display()
        );
    }
    let bar = progress_bar(remaining.len());
    let mut failed = Vec::new();
    let start = Instant::now();
    let mut saved = start;
    for chunk in remaining.chunks(CHUNK) {
        let computed: Vec<_> = chunk
            .par_iter()
            .map(|item| {
                let latents = item.pixels().map(|pixels| compute_latents(&base, &pixels));
                bar.inc(1);
                latents
            })
            .collect();
        for (item, latents) in chunk.iter().zip(computed) {
            match latents {
                Ok(latents) => table.push(item.name.clone(), item.label, &latents),
                Err(error) => failed.push(format!("{}: {error}", item.name)),
            }
        }
        if saved.elapsed() > CHECKPOINT && !table.is_empty() {
            write(&partial, &table.write(DtypeArg::F32.into()))?;
            saved = Instant::now();
        }
    }
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    for line in &failed {
        eprintln!("skipped {line}");
    }
    if table.is_empty() {
        return Err("none of the pictures could be read, so no file was written".into());
    }
    write(&out, &table.write(args.dtype.into()))?;
    if partial.exists() {
        fs::remove_file(&partial)?;
    }
    println!(
        "wrote {}: latents of {} pictures in {} classes, {:.1} pictures/s on {} cores{}",
        out.display(),
        table.len(),
        table.classes.len(),
        remaining.len() as f64 / seconds.max(f64::MIN_POSITIVE),
        rayon::current_num_threads(),
        if failed.is_empty() {
            String::new()
        } else {
            format!(", {} skipped", failed.len())
        }
    );
    Ok(())
}

fn progress_bar(total: usize) -> ProgressBar {
    let style = "{bar:32} {pos}/{len} pictures, {per_sec}, {eta} left";
    ProgressBar::new(total as u64)
        .with_style(ProgressStyle::with_template(style).expect("a valid template"))
}

/// Reads the checkpoint of an interrupted run, if there is one.
fn resume(partial: &Path, base_id: &BaseId, classes: &[String]) -> CliResult<Option<Latents>> {
    if !partial.exists() {
        return Ok(None);
    }
    let (table, _) = with_path(partial, Latents::read(&read(partial)?, Some(base_id)))?;
    if table.classes != classes {
        let path = partial.display();
        return Err(format!(
            "{path}: the checkpoint of an interrupted run has other classes; delete it, or choose another --out"
        )
        .into());
    }
    Ok(Some(table))
}

/// Lists the classes and pictures of the input paths.
fn list_pictures(inputs: &[PathBuf]) -> CliResult<(Vec<String>, Vec<Item>)> {
    let mut classes = Vec::new();
    let mut items = Vec::new();
    let mut class_index = |name: String| {
        let index = classes.iter().position(|class| *class == name);
        index.unwrap_or_else(|| {
            classes.push(name);
            classes.len() - 1
        }) as i64
    };
    for input in inputs {
        if let Some(set) = images::open_cifar10(input)? {
            let labels: Vec<_> = set
                .training
                .classes
                .iter()
                .cloned()
                .map(&mut class_index)
                .collect();
            for subset in [&set.training, &set.test] {
                items.extend((0..subset.len()).map(|row| Item {
                    name: subset.names[row].clone(),
                    label: labels[subset.labels[row]],
                    source: Source::Small(subset.row(row).into()),
                }));
            }
        } else if input.is_dir() {
            let folders: Vec<_> = entries(input)?
                .into_iter()
                .filter(|path| path.is_dir())
                .collect();
            for folder in &folders {
                let name = file_name(folder);
                items.extend(list_folder(folder, &format!("{name}/"), class_index(name))?);
            }
            if folders.is_empty() {
                items.extend(list_folder(input, "", class_index(file_name(input)))?);
            }
        } else if input.is_file() {
            let (name, label) = (
                input.display().to_string(),
                class_index("unlabelled".into()),
            );
            items.push(Item {
                name,
                label,
                source: Source::File(input.clone()),
            });
        } else {
            return Err(format!("{}: no such file or folder", input.display()).into());
        }
    }
    match items.is_empty() {
        true => Err(
            "no pictures found; pass a folder with a folder per class, a folder of pictures, picture files or CIFAR-10 files"
                .into(),
        ),
        false => Ok((classes, items)),
    }
}

/// Lists the files of a folder with one label.
fn list_folder(folder: &Path, prefix: &str, label: i64) -> CliResult<Vec<Item>> {
    let files = entries(folder)?.into_iter().filter(|path| path.is_file());
    let item = |path: PathBuf| Item {
        name: format!("{prefix}{}", file_name(&path)),
        label,
        source: Source::File(path),
    };
    Ok(files.map(item).collect())
}

impl Item {
    fn pixels(&self) -> Result<Pixels, Error> {
        match &self.source {
            Source::File(path) => {
                let bytes = fs::read(path).map_err(|error| Error::DamagedPicture {
                    reason: error.to_string(),
                })?;
                Pixels::decode(&bytes)
            }
            Source::Small(planes) => {
                let side = SIDE as u32;
                Pixels::from_rgba(side, side, &rgba(planes))
            }
        }
    }
}
