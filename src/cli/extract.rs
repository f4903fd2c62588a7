//! `extract`: labelled pictures -> `latents.safetensors`, on all cores, resumable.

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
    files::{Outcome, at, entries, file_name, read, write},
    images,
    latents::latents,
    options::{DtypeArg, PLACES},
};

/// Pictures between two looks at the clock.
const CHUNK: usize = 16;
/// How much work a broken-off run may lose.
const CHECKPOINT: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub struct Args {
    /// A folder with a folder per class, a flat folder, pictures, or CIFAR-10's files, their folder or tarball
    #[arg(required = true)]
    input: Vec<PathBuf>,
    /// The latents file to write [default: latents.safetensors, or, of a shard, latents-I-of-N.safetensors]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only every N-th picture, from the I-th on, so that N machines each do a part; `train` and the page read the files together
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// How to store the latents: f32 is 8 kB a picture, f16 4 kB, u8 2 kB
    #[arg(long, value_enum, default_value = "f32")]
    dtype: DtypeArg,
    /// The base, as `serve` takes it
    #[arg(long, value_name = PLACES, default_value = "npm")]
    weights: String,
}

/// A part of the pictures, which has some of each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shard {
    /// From 1.
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

/// A picture to do.
struct Item {
    name: String,
    label: i64,
    source: Source,
}

enum Source {
    File(PathBuf),
    /// 32x32 planes.
    Small(Vec<u8>),
}

pub fn run(args: Args) -> Outcome {
    let (base, _) = load_base(&args.weights)?;
    let (classes, mut items) = list(&args.input)?;
    let mut out = PathBuf::from("latents.safetensors");
    if let Some(Shard { number, count }) = args.shard {
        let mut place = 0..;
        items.retain(|_| {
            place
                .next()
                .is_some_and(|place: usize| place % count == number - 1)
        });
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
    let todo: Vec<_> = items
        .into_iter()
        .filter(|item| !done.contains(&item.name))
        .collect();
    if !done.is_empty() {
        eprintln!(
            "going on after {} pictures of an earlier run ({})",
            done.len(),
            partial.display()
        );
    }
    let bar = progress(todo.len());
    let mut broken = Vec::new();
    let start = Instant::now();
    let mut saved = start;
    for chunk in todo.chunks(CHUNK) {
        let computed: Vec<_> = chunk
            .par_iter()
            .map(|item| {
                let latents = item.pixels().map(|pixels| latents(&base, &pixels));
                bar.inc(1);
                latents
            })
            .collect();
        for (item, latents) in chunk.iter().zip(computed) {
            match latents {
                Ok(latents) => table.push(item.name.clone(), item.label, &latents),
                Err(error) => broken.push(format!("{}: {error}", item.name)),
            }
        }
        if saved.elapsed() > CHECKPOINT && !table.is_empty() {
            write(&partial, &table.write(DtypeArg::F32.into()))?;
            saved = Instant::now();
        }
    }
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    for line in &broken {
        eprintln!("left out: {line}");
    }
    if table.is_empty() {
        return Err("no picture could be read, so nothing was written".into());
    }
    write(&out, &table.write(args.dtype.into()))?;
    if partial.exists() {
        fs::remove_file(&partial)?;
    }
    println!(
        "{}: latents of {} pictures in {} classes, {:.1} pictures/s on {} cores{}",
        out.display(),
        table.len(),
        table.classes.len(),
        todo.len() as f64 / seconds.max(f64::MIN_POSITIVE),
        rayon::current_num_threads(),
        if broken.is_empty() {
            String::new()
        } else {
            format!(", {} left out", broken.len())
        }
    );
    Ok(())
}

/// A bar with count, rate and time left.
fn progress(total: usize) -> ProgressBar {
    let style = "{bar:32} {pos}/{len} pictures, {per_sec}, {eta} left";
    ProgressBar::new(total as u64)
        .with_style(ProgressStyle::with_template(style).expect("a valid template"))
}

fn resume(partial: &Path, base_id: &BaseId, classes: &[String]) -> Outcome<Option<Latents>> {
    if !partial.exists() {
        return Ok(None);
    }
    let (table, _) = at(partial, Latents::read(&read(partial)?, Some(base_id)))?;
    if table.classes != classes {
        let path = partial.display();
        return Err(format!(
            "{path}: left by a run on other classes; delete it, or choose another --out"
        )
        .into());
    }
    Ok(Some(table))
}

/// What lies at `inputs`: classes, and every picture with its class.
fn list(inputs: &[PathBuf]) -> Outcome<(Vec<String>, Vec<Item>)> {
    let mut classes = Vec::new();
    let mut items = Vec::new();
    let mut class = |name: String| {
        let known = classes.iter().position(|known| *known == name);
        known.unwrap_or_else(|| {
            classes.push(name);
            classes.len() - 1
        }) as i64
    };
    for input in inputs {
        if let Some(set) = images::cifar10(input)? {
            let labels: Vec<_> = set
                .training
                .classes
                .iter()
                .cloned()
                .map(&mut class)
                .collect();
            for part in [&set.training, &set.test] {
                items.extend((0..part.len()).map(|row| Item {
                    name: part.names[row].clone(),
                    label: labels[part.labels[row]],
                    source: Source::Small(part.row(row).into()),
                }));
            }
        } else if input.is_dir() {
            let folders: Vec<_> = entries(input)?
                .into_iter()
                .filter(|path| path.is_dir())
                .collect();
            for folder in &folders {
                let name = file_name(folder);
                items.extend(files(folder, &format!("{name}/"), class(name))?);
            }
            if folders.is_empty() {
                items.extend(files(input, "", class(file_name(input)))?);
            }
        } else if input.is_file() {
            let (name, label) = (input.display().to_string(), class("unlabelled".into()));
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
            "no pictures found; give a folder per class, a folder, pictures or CIFAR-10's files"
                .into(),
        ),
        false => Ok((classes, items)),
    }
}

/// The files in a folder, all of one class.
fn files(folder: &Path, prefix: &str, label: i64) -> Outcome<Vec<Item>> {
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
