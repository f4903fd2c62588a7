//! `weights`: imports weights into the native format, or describes a weights file.

use std::path::{Path, PathBuf};

use inception_web::weights::{
    PADDING, RESIZE, Weights,
    quantise::{LATER, quantise},
};

use super::{
    base::{ImportedBase, downloaded, from_npm, is_url, opened},
    fetch,
    files::{Outcome, at, project_root, read, write},
    options::{DtypeArg, InputArg, PLACES},
    output::thousands,
};

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

pub fn run(args: Args) -> Outcome {
    if let Some(file) = args.inspect {
        return inspect(&file);
    }
    let (Some(from), Some(out)) = (args.from, args.out) else {
        unreachable!("clap requires both")
    };
    let range = args.input.map(Into::into);
    let base = match from.as_str() {
        "npm" | "nsfwjs" => from_npm(&project_root()?)?,
        "imagenet" => downloaded(&fetch::imagenet(), true, range)?,
        url if is_url(url) => downloaded(url, true, range)?,
        path => opened(Path::new(path), range)?,
    };
    let base = match args.bits {
        Some(bits) => ImportedBase::new(quantise(base.source, bits, LATER)),
        None => base,
    };
    write(&out, &base.write(args.dtype.into()))?;
    inspect(&out)
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
                info.self_test_latents.len()
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
