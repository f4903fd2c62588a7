//! `weights`: converts a source of weights to our file, or tells what a file is. `summary`: the net as a table.

use std::path::{Path, PathBuf};

use inception_web::{
    base::with_known_latents,
    compare::Way,
    image::InputRange,
    inception::table,
    weights::{
        Dtype, PADDING, RESIZE, Source, Weights, fingerprint,
        foreign::{self, File},
        nsfwjs, write,
    },
};

use super::{Outcome, at, entries, file_name, read, site, thousands};

#[derive(clap::Args)]
pub struct Args {
    /// Where the weights come from: `nsfwjs` (the npm package), a weights file of ours, or one of timm, torchvision, Keras, TF.js (the
    /// folder of model.json) or ONNX
    #[arg(
        long,
        value_name = "nsfwjs|FILE",
        required_unless_present = "inspect",
        requires = "out"
    )]
    from: Option<PathBuf>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How to store the kernels: f32 is 87 MB, f16 44 MB, u8 22 MB
    #[arg(long, value_enum, default_value = "f32")]
    dtype: DtypeArg,
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
    let bytes = if from.as_os_str() == "nsfwjs" {
        default_base(&site::root()?, args.dtype.into())?
    } else {
        convert(&from, args.input.map(Into::into), args.dtype.into())?
    };
    super::write(&out, &bytes)?;
    inspect(&out)
}

/// Any weights file, or folder of one, as a file of ours.
fn convert(from: &Path, range: Option<InputRange>, dtype: Dtype) -> Outcome<Vec<u8>> {
    let paths = match from.is_dir() {
        true => entries(from)?,
        false => vec![from.to_path_buf()],
    };
    let files: Vec<_> = paths
        .iter()
        .filter(|path| path.is_file())
        .map(|path| Ok((file_name(path), read(path)?)))
        .collect::<Outcome<_>>()?;
    if let [(_, bytes)] = files.as_slice()
        && Weights::is(bytes)
    {
        let weights = at(from, Weights::open(bytes))?;
        let source = at(from, weights.source())?;
        return Ok(write(&source, &weights.fingerprint, dtype));
    }
    let files: Vec<_> = files
        .iter()
        .map(|(name, bytes)| File { name, bytes })
        .collect();
    Ok(finish(at(from, foreign::read(&files, range))?, dtype))
}

/// The default base, out of the locked npm package, as a file of ours.
pub fn default_base(root: &Path, dtype: Dtype) -> Outcome<Vec<u8>> {
    let folder = site::nsfwjs_folder(root)?;
    let source = nsfwjs::read(|name| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).map_err(|reason| inception_web::error::Error::Source {
            file: name.into(),
            reason: reason.to_string(),
            hint: nsfwjs::HINT,
        })
    })?;
    Ok(finish(source, dtype))
}

/// A foreign base as a file of ours.
fn finish(mut source: Source, dtype: Dtype) -> Vec<u8> {
    let fingerprint = fingerprint(&source.info, &source.convs);
    source.info = with_known_latents(source.info, &source.convs);
    write(&source, &fingerprint, dtype)
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
}

pub fn summary(args: &SummaryArgs) -> Outcome {
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
