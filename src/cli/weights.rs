//! `weights`: converts a source of weights to our file, or tells what a file is. `summary`: the net as a table.

use std::path::{Path, PathBuf};

use inception_web::{
    base::{KNOWN, latents_to_know},
    compare::Way,
    image::InputRange,
    inception::table,
    roofline,
    weights::{
        Dtype, PADDING, RESIZE, Source, Weights, fingerprint,
        foreign::{self, File},
        nsfwjs,
        quantise::{LATER, quantise},
        rounded, write,
    },
};

use super::{Outcome, at, entries, fetch, file_name, read, site, thousands};

/// What `--weights` and `--from` take.
pub const PLACES: &str = "npm|imagenet|URL|FILE";

#[derive(clap::Args)]
pub struct Args {
    /// Where the weights come from: `npm` (the package nsfwjs), `imagenet` (the Hugging Face hub, or the address in
    /// INCEPTION_WEB_IMAGENET_URL), an address, or a file: ours, or one of timm, torchvision, Keras, TF.js (the folder of model.json), ONNX
    #[arg(
        long,
        value_name = PLACES,
        required_unless_present = "inspect",
        requires = "out"
    )]
    from: Option<String>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How to store the kernels: f32 is 87 MB, f16 44 MB, u8 22 MB
    #[arg(long, value_enum, default_value = "f32")]
    dtype: DtypeArg,
    /// First put most kernels on the levels of so few bits. With u8, that is smaller as it is served, but another base, and answers otherwise
    #[arg(long, value_name = "4..7", value_parser = clap::value_parser!(u8).range(4..=7))]
    bits: Option<u8>,
    /// How pictures reach the net, where the source does not say: unit is 0 to 1, signed -1 to 1, imagenet less the mean by the deviation
    #[arg(long, value_enum)]
    input: Option<InputArg>,
    /// Print what a weights file is, and check it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "out"])]
    inspect: Option<PathBuf>,
}

/// Number types of files, as arguments.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum DtypeArg {
    F32,
    F16,
    U8,
}

impl From<DtypeArg> for Dtype {
    fn from(dtype: DtypeArg) -> Dtype {
        match dtype {
            DtypeArg::F32 => Dtype::F32,
            DtypeArg::F16 => Dtype::F16,
            DtypeArg::U8 => Dtype::U8,
        }
    }
}

/// What black and white become, as an argument.
#[derive(Clone, Copy, clap::ValueEnum)]
enum InputArg {
    Unit,
    Signed,
    Imagenet,
}

impl From<InputArg> for InputRange {
    fn from(input: InputArg) -> InputRange {
        match input {
            InputArg::Unit => InputRange::UNIT,
            InputArg::Signed => InputRange::SIGNED,
            InputArg::Imagenet => InputRange::IMAGENET,
        }
    }
}

pub fn run(args: Args) -> Outcome {
    if let Some(file) = args.inspect {
        return inspect(&file);
    }
    let (Some(from), Some(out)) = (args.from, args.out) else {
        unreachable!("clap requires both")
    };
    let range = args.input.map(Into::into);
    let base = match from.as_str() {
        "npm" | "nsfwjs" => npm(&site::root()?)?,
        "imagenet" => downloaded(&fetch::imagenet(), true, range)?,
        url if is_url(url) => downloaded(url, true, range)?,
        path => opened(Path::new(path), range)?,
    };
    let base = match args.bits {
        Some(bits) => Base::new(quantise(base.source, bits, LATER)),
        None => base,
    };
    super::write(&out, &base.write(args.dtype.into()))?;
    inspect(&out)
}

/// The file of ours with the base that a person wishes, converted and kept where it was not ours. `auto` is ImageNet's, or npm's where that cannot be had.
pub fn find(wish: &str) -> Outcome<PathBuf> {
    match wish {
        "auto" => Ok(match kept_download(&fetch::imagenet(), false) {
            Ok(path) => path,
            Err(reason) => {
                eprintln!(
                    "ImageNet's weights are not used: {reason}. The base out of npm nsfwjs is, which tells things apart less well. \
                     `--weights npm` says so without trying, `--weights FILE` takes weights that you have."
                );
                site::default_base(&site::root()?)?
            }
        }),
        "npm" | "nsfwjs" => site::default_base(&site::root()?),
        "imagenet" => kept_download(&fetch::imagenet(), true),
        url if is_url(url) => kept_download(url, true),
        path => {
            let path = Path::new(path);
            if path.is_file() && Weights::is(&read(path)?) {
                return Ok(path.into());
            }
            let base = opened(path, None)?;
            let kept = kept(&base.fingerprint)?;
            if !is_whole(&kept) {
                super::write(&kept, &base.write(Dtype::U8))?;
            }
            Ok(kept)
        }
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// Where a converted base is kept.
fn kept(name: &str) -> Outcome<PathBuf> {
    Ok(fetch::cache()?.join(format!("{}.safetensors", &name[..16])))
}

fn is_whole(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|bytes| Weights::open(&bytes).is_ok())
}

/// A base from an address, which is only asked the first time.
fn kept_download(url: &str, patient: bool) -> Outcome<PathBuf> {
    let path = kept(&fetch::key(url))?;
    if !is_whole(&path) {
        let base = downloaded(url, patient, None)?;
        super::write(&path, &base.write(Dtype::U8))?;
    }
    Ok(path)
}

fn downloaded(url: &str, patient: bool, range: Option<InputRange>) -> Outcome<Base> {
    let bytes = fetch::download(url, patient)?;
    let name = url.split(['?', '#']).next().unwrap_or(url);
    let name = name.rsplit('/').next().unwrap_or(name);
    let mut base =
        read_source(&[(name.into(), bytes)], range).map_err(|error| format!("{url}: {error}"))?;
    let info = &mut base.source.info;
    if url == fetch::IMAGENET {
        info.name = "timm inception_v3.tf_in1k".into();
        info.licence = "Apache-2.0".into();
        info.note = "Trained on ImageNet's 1,000 classes of photographs.".into();
    }
    if info.known_latents.is_empty() {
        info.source = url.into();
    }
    Ok(base)
}

/// A weights file of any kind, or the folder of one.
fn opened(path: &Path, range: Option<InputRange>) -> Outcome<Base> {
    let paths = match path.is_dir() {
        true => entries(path)?,
        false => vec![path.to_path_buf()],
    };
    let files: Vec<_> = paths
        .iter()
        .filter(|path| path.is_file() || paths.len() == 1)
        .map(|path| Ok((file_name(path), read(path)?)))
        .collect::<Outcome<_>>()?;
    read_source(&files, range).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn read_source(files: &[(String, Vec<u8>)], range: Option<InputRange>) -> Outcome<Base> {
    if let [(_, bytes)] = files
        && Weights::is(bytes)
    {
        let weights = Weights::open(bytes)?;
        return Ok(Base {
            source: weights.source()?,
            fingerprint: weights.fingerprint,
        });
    }
    let files: Vec<_> = files
        .iter()
        .map(|(name, bytes)| File { name, bytes })
        .collect();
    let mut source = foreign::read(&files, range)?;
    if let Ok(root) = site::root() {
        source.name_classes(&site::imagenet_classes(&root)?);
    }
    Ok(Base::new(source))
}

/// The default base, out of the locked npm package, as a file of ours.
pub fn default_base(root: &Path, dtype: Dtype) -> Outcome<Vec<u8>> {
    Ok(npm(root)?.write(dtype))
}

fn npm(root: &Path) -> Outcome<Base> {
    let folder = site::nsfwjs_folder(root)?;
    let source = nsfwjs::read(|name| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).map_err(|reason| inception_web::error::Error::Source {
            file: name.into(),
            reason: reason.to_string(),
            hint: nsfwjs::HINT,
        })
    })?;
    Ok(Base::new(source))
}

/// A base that was read, and the fingerprint of its exact numbers, which a file of ours knows even if it has rounded them.
struct Base {
    source: Source,
    fingerprint: String,
}

impl Base {
    fn new(source: Source) -> Base {
        let fingerprint = fingerprint(&source.info, &source.convs);
        Base {
            source,
            fingerprint,
        }
    }

    /// As a file of ours.
    fn write(mut self, dtype: Dtype) -> Vec<u8> {
        let convs = rounded(&self.source, dtype);
        let info = &mut self.source.info;
        info.known_latents = latents_to_know(info, &convs);
        info.known_latents.truncate(KNOWN);
        write(&self.source, &self.fingerprint, dtype)
    }
}

fn inspect(file: &Path) -> Outcome {
    let bytes = read(file)?;
    let weights = at(file, Weights::open(&bytes))?;
    let info = &weights.info;
    let convs = at(file, weights.convs().collect::<Result<Vec<_>, _>>())?;
    let numbers: usize = convs
        .iter()
        .map(|conv| conv.kernel.len() + conv.bias.len())
        .sum();
    println!("{}: Inception V3 base, whole and undamaged", file.display());
    for (what, value) in [
        ("name", info.name.clone()),
        ("source", info.source.clone()),
        ("licence", info.licence.clone()),
        ("note", info.note.clone()),
        (
            "input range",
            match info.range.both() {
                Some([low, high]) => format!("black {low}, white {high}"),
                None => format!("black {:?}, white {:?}", info.range.low, info.range.high),
            },
        ),
        ("average pools", format!("{:?}", info.average_pool)),
        ("resize", RESIZE.into()),
        ("padding", PADDING.into()),
        (
            "self-check",
            format!(
                "the first {} latents of a known picture",
                info.known_latents.len()
            ),
        ),
        ("dtype", weights.dtype.name().into()),
        (
            "convolutions",
            format!(
                "{}, BatchNorm folded, {} numbers",
                convs.len(),
                thousands(numbers)
            ),
        ),
        (
            "classifier",
            match at(file, weights.classifier())? {
                Some(classifier) => format!("{} classes", classifier.classes.len()),
                None => "none".into(),
            },
        ),
        ("size", format!("{} bytes", thousands(bytes.len()))),
        ("fingerprint", weights.fingerprint.clone()),
    ] {
        println!("  {what:<14} {value}");
    }
    Ok(())
}

/// Prints the net as `model.summary()` of Keras does; the base is frozen, so nothing is trainable.
#[derive(clap::Args)]
pub struct SummaryArgs {
    /// inception, mlp, cnn or transfer (the head that `compare` trains)
    #[arg(default_value = "inception", value_parser = ["inception", "mlp", "cnn", "transfer"])]
    network: String,
    /// How many classes the trained networks tell apart
    #[arg(long, value_name = "N", default_value_t = 10)]
    classes: usize,
    /// What each dispatch of Inception's forward on a GPU computes and moves, and the time that this predicts on published GPUs
    #[arg(long)]
    gpu: bool,
    /// Pictures in that forward
    #[arg(long, value_name = "N", default_value_t = 1, requires = "gpu")]
    batch: usize,
}

/// Prints the forward on a GPU, dispatch by dispatch.
fn roofline(pictures: usize) {
    let rows = roofline::rows(pictures);
    let mega = |bytes: usize| bytes as f64 / 1e6;
    println!(
        "{:<40} {:>14} {:>7} {:>8} {:>8} {:>8} {:>8} {:>8} {:>10}",
        "Dispatch",
        "Output",
        "Tile",
        "MMAC",
        "MB read",
        "written",
        "least",
        "FLOP/B",
        "invocations"
    );
    for row in &rows {
        let tile = row.tile.map_or(String::new(), |[pixels, channels, split]| {
            let shared = if split > 1 {
                format!("/{split}")
            } else {
                String::new()
            };
            format!("{pixels}x{channels}{shared}")
        });
        println!(
            "{:<40} {:>14} {tile:>7} {:>8.1} {:>8.2} {:>8.2} {:>8.2} {:>8.1} {:>10}",
            row.name,
            row.output.map(|size| size.to_string()).join("x"),
            row.macs as f64 / 1e6,
            mega(row.read),
            mega(row.written),
            mega(row.least),
            row.intensity(),
            row.invocations,
        );
    }
    let sum = |of: fn(&roofline::Row) -> usize| rows.iter().map(of).sum::<usize>();
    println!(
        "{} dispatches, {} picture(s): {:.2} GMAC ({:.2} with the tiles' edges), {:.0} MB read, {:.0} MB written, {:.0} MB at least",
        rows.len(),
        pictures,
        sum(|row| row.macs) as f64 / 1e9,
        sum(|row| row.done) as f64 / 1e9,
        mega(sum(|row| row.read)),
        mega(sum(|row| row.written)),
        mega(sum(|row| row.least)),
    );
    for card in &roofline::CARDS {
        let milliseconds = |of: fn(&roofline::Row, &roofline::Card) -> f64| {
            rows.iter().map(|row| of(row, card)).sum::<f64>() * 1e3
        };
        println!(
            "{} ({:.2} TFLOPS, {:.0} GB/s; {}): {:.1} ms by the roofline, {:.1} ms by these kernels if caches keep what workgroups share, {:.1} ms if they keep nothing",
            card.name,
            card.flops / 1e12,
            card.bandwidth / 1e9,
            card.source,
            milliseconds(roofline::Row::roofline),
            milliseconds(roofline::Row::quickest),
            milliseconds(roofline::Row::slowest),
        );
    }
}

pub fn summary(args: &SummaryArgs) -> Outcome {
    if args.gpu {
        roofline(args.batch.max(1));
        return Ok(());
    }
    let way = Way::ALL.into_iter().find(|way| way.id() == args.network);
    let (title, rows) = match way {
        None => ("\"inception_v3\" without its top".into(), table()),
        Some(way) => (format!("{:?}", way.name()), way.table(args.classes)),
    };
    let line = "─".repeat(84);
    println!("Model: {title}\n{line}");
    println!(
        "{:<52} {:<18} {:>12}\n{line}",
        "Layer (type)", "Output shape", "Param #"
    );
    for row in &rows {
        let shape: Vec<_> = row.output.iter().map(usize::to_string).collect();
        let layer = format!("{} ({})", row.name, row.class);
        println!(
            "{layer:<52} {:<18} {:>12}",
            format!("(None, {})", shape.join(", ")),
            thousands(row.parameters)
        );
    }
    let count: usize = rows.iter().map(|row| row.parameters).sum();
    let (trained, frozen) = match way {
        None => (0, count),
        Some(way) => (count, way.frozen_parameters()),
    };
    println!(
        "{line}\nTotal params: {}\nTrainable params: {}\nNon-trainable params: {}",
        sized(trained + frozen),
        sized(trained),
        sized(frozen)
    );
    Ok(())
}

/// Parameters, and the memory that they take as f32, in Keras's units.
fn sized(parameters: usize) -> String {
    let (mut size, mut unit) = ((parameters * 4) as f64, "B");
    for larger in ["KB", "MB"] {
        if size >= 1024.0 {
            (size, unit) = (size / 1024.0, larger);
        }
    }
    format!("{} ({size:.2} {unit})", thousands(parameters))
}
