//! `build`: writes the page as a static site.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    files::{Outcome, copy, project_root, write},
    options::PLACES,
    site::{self, licences::THIRD_PARTY, listed, wasm::RUNTIMES},
};

#[derive(clap::Args)]
pub struct Args {
    /// The folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The base: `npm` (the package nsfwjs), `imagenet` (the Hugging Face hub, or the address in INCEPTION_WEB_IMAGENET_URL), an address,
    /// or a weights file of any kind; `auto` takes imagenet's, or npm's where that cannot be had
    #[arg(long, value_name = PLACES, default_value = "auto")]
    weights: String,
    /// The cargo profile of the wasm builds: `web`, or `web-dev`, which builds faster and runs slower
    #[arg(long, default_value = "web")]
    profile: String,
}

pub fn run(args: Args) -> Outcome {
    let root = project_root()?;
    let site = site::prepare(&root, &args.weights, &args.profile)?;
    copy(&root.join("www"), &args.out)?;
    for (name, _) in RUNTIMES {
        copy(
            &root.join("pkg").join(name),
            &args.out.join("pkg").join(name),
        )?;
    }
    copy(&root.join("pkg/npm"), &args.out.join("npm"))?;
    fs::copy(root.join(THIRD_PARTY), args.out.join(THIRD_PARTY))?;
    for ending in ["", ".br"] {
        let file = |path: &Path| PathBuf::from(format!("{}{ending}", path.display()));
        if file(&site.base).exists() {
            fs::copy(
                file(&site.base),
                file(&args.out.join("pkg/base.safetensors")),
            )?;
        }
    }
    write(
        &args.out.join("pkg/site.json"),
        listed(&root, &site.manifest)?.to_string().as_bytes(),
    )?;
    println!(
        "{}: a static site; any web server can serve it, from any path",
        args.out.display()
    );
    Ok(())
}
