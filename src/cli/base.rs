//! Bases for commands: found by name, address or path, imported where they are not in the native format, and loaded.

use std::path::{Path, PathBuf};

use inception_web::{
    base::{Base, SELF_TEST_LATENTS, self_test_latents},
    head::Head,
    image::InputRange,
    weights::{
        Dtype, Source, Weights, fingerprint,
        import::{self, File, nsfwjs},
        rounded, write,
    },
};

use super::{
    fetch,
    files::{self, Outcome, at, entries, file_name, project_root, read},
    npm,
};

/// A base on the CPU, and the head that its file brings, if it does.
pub fn load_base(wish: &str) -> Outcome<(Base, Option<Head>)> {
    let path = find(wish)?;
    let bytes = read(&path)?;
    let open = || {
        let weights = Weights::open(&bytes)?;
        let base = Base::load(&weights)?;
        Ok((base, weights.head()?))
    };
    at(&path, open())
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
                default_base_file(&project_root()?)?
            }
        }),
        "npm" | "nsfwjs" => default_base_file(&project_root()?),
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
                files::write(&kept, &base.write(Dtype::U8))?;
            }
            Ok(kept)
        }
    }
}

pub fn is_url(text: &str) -> bool {
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
        files::write(&path, &base.write(Dtype::U8))?;
    }
    Ok(path)
}

pub fn downloaded(url: &str, patient: bool, range: Option<InputRange>) -> Outcome<ImportedBase> {
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
    if info.self_test_latents.is_empty() {
        info.source = url.into();
    }
    Ok(base)
}

/// A weights file of any kind, or the folder of one.
pub fn opened(path: &Path, range: Option<InputRange>) -> Outcome<ImportedBase> {
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

fn read_source(files: &[(String, Vec<u8>)], range: Option<InputRange>) -> Outcome<ImportedBase> {
    if let [(_, bytes)] = files
        && Weights::is(bytes)
    {
        let weights = Weights::open(bytes)?;
        return Ok(ImportedBase {
            source: weights.source()?,
            fingerprint: weights.fingerprint,
        });
    }
    let files: Vec<_> = files
        .iter()
        .map(|(name, bytes)| File { name, bytes })
        .collect();
    let mut source = import::import(&files, range)?;
    if let Ok(root) = project_root() {
        source.name_classes(&npm::imagenet_classes(&root)?);
    }
    Ok(ImportedBase::new(source))
}

pub fn from_npm(root: &Path) -> Outcome<ImportedBase> {
    let folder = npm::nsfwjs_folder(root)?;
    let source = nsfwjs::read(|name| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).map_err(|reason| inception_web::error::Error::Source {
            file: name.into(),
            reason: reason.to_string(),
            hint: nsfwjs::HINT,
        })
    })?;
    Ok(ImportedBase::new(source))
}

/// A base that was read, and the fingerprint of its exact numbers, which a file of ours knows even if it has rounded them.
pub struct ImportedBase {
    pub source: Source,
    fingerprint: String,
}

impl ImportedBase {
    pub fn new(source: Source) -> ImportedBase {
        let fingerprint = fingerprint(&source.info, &source.convs);
        ImportedBase {
            source,
            fingerprint,
        }
    }

    /// As a file of ours.
    pub fn write(mut self, dtype: Dtype) -> Vec<u8> {
        let convs = rounded(&self.source, dtype);
        let info = &mut self.source.info;
        info.self_test_latents = self_test_latents(info, &convs);
        info.self_test_latents.truncate(SELF_TEST_LATENTS);
        write(&self.source, &self.fingerprint, dtype)
    }
}

/// The default base as a file of ours, converted from the npm package at the first time.
pub fn default_base_file(root: &Path) -> Outcome<PathBuf> {
    let path = root.join("pkg/base.safetensors");
    let good = std::fs::read(&path).is_ok_and(|bytes| Weights::open(&bytes).is_ok());
    if !good {
        eprintln!(
            "converting the base out of npm nsfwjs to {}",
            path.display()
        );
        files::write(&path, &from_npm(root)?.write(Dtype::U8))?;
    }
    Ok(path)
}
