//! `build`: writes the page to a folder as a static site.

use std::{fs, path::PathBuf};

use super::{
    files::{copy_dir, project_root, write},
    options::SiteArgs,
    result::CliResult,
    site::{Site, brotli_path, licences::THIRD_PARTY, wasm::RUNTIMES},
};

#[derive(clap::Args)]
pub struct Args {
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    site: SiteArgs,
}

pub fn run(args: Args) -> CliResult {
    let root = project_root()?;
    let site = Site::prepare(&root, &args.site)?;
    site.complete()?;
    copy_dir(&root.join("www"), &args.out)?;
    for runtime in &RUNTIMES {
        let folder = PathBuf::from("pkg").join(runtime.name);
        copy_dir(&root.join(&folder), &args.out.join(&folder))?;
    }
    copy_dir(&root.join("pkg/npm"), &args.out.join("npm"))?;
    fs::copy(root.join(THIRD_PARTY), args.out.join(THIRD_PARTY))?;
    let base = args.out.join("pkg/base.safetensors");
    fs::copy(&site.base, &base)?;
    if brotli_path(&site.base).exists() {
        fs::copy(brotli_path(&site.base), brotli_path(&base))?;
    }
    write(
        &args.out.join("pkg/site.json"),
        site.manifest()?.to_string().as_bytes(),
    )?;
    println!(
        "wrote the static site to {}; any web server can serve it from any path",
        args.out.display()
    );
    Ok(())
}
