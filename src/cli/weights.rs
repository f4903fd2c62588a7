//! `weights`: converts weights to the native format, or describes a weights file.

use std::path::{Path, PathBuf};

use inception_web::weights::{
    PADDING, RESIZE, Weights,
    quantise::{LATER, quantise},
};

use super::{
    base::{ImportedBase, import},
    files::{read, write},
    options::{DtypeArg, InputArg, WEIGHTS_VALUE},
    output::thousands,
    result::{CliResult, with_path},
};

#[derive(clap::Args)]
pub struct Args {
    /// Source of the weights: `npm` (package nsfwjs), `imagenet` (Hugging Face hub, or INCEPTION_WEB_IMAGENET_URL), a URL, or a file in
    /// the native format or of timm, torchvision, Keras, TF.js (the folder of model.json) or ONNX
    #[arg(
        long,
        value_name = WEIGHTS_VALUE,
        required_unless_present = "inspect",
        requires = "out"
    )]
    from: Option<String>,
    /// Weights file to write
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Number type of the kernels in the file: f32 (87 MB), f16 (44 MB) or u8 (22 MB)
    #[arg(long, value_enum, default_value = "f32")]
    dtype: DtypeArg,
    /// Quantise most kernels to this number of bits first. With u8 the file compresses better, but it is another base with other latents
    #[arg(long, value_name = "4..7", value_parser = clap::value_parser!(u8).range(4..=7))]
    bits: Option<u8>,
    /// Override the input range of an imported file: unit (0 to 1), signed (-1 to 1) or imagenet (mean and deviation normalised).
    /// Ignored for npm and for files in the native format
    #[arg(long, value_enum)]
    input: Option<InputArg>,
    /// Validate a weights file and print its metadata
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "out"])]
    inspect: Option<PathBuf>,
}

pub fn run(args: Args) -> CliResult {
    if let Some(file) = args.inspect {
        return inspect(&file);
    }
    let (Some(from), Some(out)) = (args.from, args.out) else {
        unreachable!("clap requires both")
    };
    let range = args.input.map(Into::into);
    let base = import(&from, range)?;
    let base = match args.bits {
        Some(bits) => ImportedBase::new(quantise(base.source, bits, LATER)),
        None => base,
    };
    write(&out, &base.write(args.dtype.into()))?;
    inspect(&out)
}

fn inspect(file: &Path) -> CliResult {
    let bytes = read(file)?;
    let weights = with_path(file, Weights::open(&bytes))?;
    let info = &weights.info;
    let convs = with_path(file, weights.convs().collect::<Result<Vec<_>, _>>())?;
    let parameters: usize = convs
        .iter()
        .map(|conv| conv.kernel.len() + conv.bias.len())
        .sum();
    println!("{}: valid Inception V3 base", file.display());
    for (key, value) in [
        ("name", info.name.clone()),
        ("source", info.source.clone()),
        ("licence", info.licence.clone()),
        ("note", info.note.clone()),
        (
            "input range",
            match info.range.as_even() {
                Some([low, high]) => format!("black {low}, white {high}"),
                None => format!("black {:?}, white {:?}", info.range.low, info.range.high),
            },
        ),
        ("average pools", format!("{:?}", info.average_pool)),
        ("resize", RESIZE.into()),
        ("padding", PADDING.into()),
        (
            "self-test",
            format!(
                "first {} latents of the self-test image",
                info.self_test_latents.len()
            ),
        ),
        ("dtype", weights.dtype.name().into()),
        (
            "convolutions",
            format!(
                "{} with folded BatchNorm, {} parameters",
                convs.len(),
                thousands(parameters)
            ),
        ),
        (
            "classifier",
            match with_path(file, weights.classifier())? {
                Some(classifier) => format!("{} classes", classifier.classes.len()),
                None => "none".into(),
            },
        ),
        ("size", format!("{} bytes", thousands(bytes.len()))),
        ("fingerprint", weights.fingerprint.clone()),
    ] {
        println!("  {key:<14} {value}");
    }
    Ok(())
}
