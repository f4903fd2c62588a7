//! Loads and imports bases: by name, from a URL, or from a file or folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use inception_web::{
    base::{Base, self_test_latents},
    error::Error,
    head::Head,
    image::InputRange,
    weights::{
        self, Dtype, Source, Weights, fingerprint,
        import::{self, File, nsfwjs},
        round_trip,
    },
};

use super::{
    fetch::{self, IMAGENET_URL, imagenet_url},
    files::{entries, file_name, project_root, read, write},
    npm,
    result::{CliResult, with_path},
};

/// Loads the base of a `--weights` value on the CPU, with the classifier of its file, if it includes one.
pub fn load_base(value: &str) -> CliResult<(Base, Option<Head>)> {
    let path = resolve(value)?;
    let bytes = read(&path)?;
    let open = || {
        let weights = Weights::open(&bytes)?;
        let base = Base::load(&weights)?;
        Ok((base, weights.head()?))
    };
    with_path(&path, open())
}

/// Returns a weights file in the native format for a `--weights` value. Downloads and imports into the cache if needed.
pub fn resolve(value: &str) -> CliResult<PathBuf> {
    match value {
        "auto" => match cached_download(&imagenet_url(), false) {
            Ok(path) => Ok(path),
            Err(reason) => {
                eprintln!(
                    "warning: cannot use the ImageNet weights: {reason}. Using the base from the npm package nsfwjs, which is less \
                     accurate. Use `--weights npm` to select it without a download, or `--weights FILE` for a local file."
                );
                default_base_file(&project_root()?)
            }
        },
        "npm" | "nsfwjs" => default_base_file(&project_root()?),
        "imagenet" => cached_download(&imagenet_url(), true),
        url if is_url(url) => cached_download(url, true),
        path => {
            let path = Path::new(path);
            if path.is_file() && Weights::is_native(&read(path)?) {
                return Ok(path.into());
            }
            let base = import_path(path, None)?;
            let cached = cache_path(&base.fingerprint)?;
            if !is_valid(&cached) {
                write(&cached, &base.write(Dtype::U8))?;
            }
            Ok(cached)
        }
    }
}

/// Returns the default base, `pkg/base.safetensors`. Imports it from the npm package if it is missing or damaged.
pub fn default_base_file(root: &Path) -> CliResult<PathBuf> {
    let path = root.join("pkg/base.safetensors");
    if !is_valid(&path) {
        eprintln!(
            "converting the base from the npm package nsfwjs to {}",
            path.display()
        );
        write(&path, &import_npm(root)?.write(Dtype::U8))?;
    }
    Ok(path)
}

/// Downloads and imports the weights of a URL, unless they are in the cache. `retry` is passed to [`fetch::download`].
fn cached_download(url: &str, retry: bool) -> CliResult<PathBuf> {
    let path = cache_path(&fetch::cache_key(url))?;
    if !is_valid(&path) {
        let base = import_url(url, retry, None)?;
        write(&path, &base.write(Dtype::U8))?;
    }
    Ok(path)
}

/// Returns the cache file for a hexadecimal key of at least 16 digits.
fn cache_path(key: &str) -> CliResult<PathBuf> {
    Ok(fetch::cache_dir()?.join(format!("{}.safetensors", &key[..16])))
}

/// Returns whether a file is an undamaged base in the native format.
fn is_valid(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| Weights::open(&bytes).is_ok())
}

fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// A base in memory, ready to be written in the native format.
pub struct ImportedBase {
    pub source: Source,
    /// Fingerprint of the weights before rounding.
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

    /// Serialises the base in the native format, with the self-test latents of the rounded weights.
    pub fn write(mut self, dtype: Dtype) -> Vec<u8> {
        let convs = round_trip(&self.source, dtype);
        let info = &mut self.source.info;
        info.self_test_latents = self_test_latents(info, &convs);
        weights::write(&self.source, &self.fingerprint, dtype)
    }
}

/// Imports the base of a `weights --from` value. `range` overrides the input range of an imported file; it is ignored for npm and for
/// files in the native format.
pub fn import(value: &str, range: Option<InputRange>) -> CliResult<ImportedBase> {
    match value {
        "npm" | "nsfwjs" => import_npm(&project_root()?),
        "imagenet" => import_url(&imagenet_url(), true, range),
        url if is_url(url) => import_url(url, true, range),
        path => import_path(Path::new(path), range),
    }
}

fn import_npm(root: &Path) -> CliResult<ImportedBase> {
    let folder = npm::nsfwjs_folder(root)?;
    let source = nsfwjs::read(|name| {
        fs::read_to_string(folder.join(name)).map_err(|reason| Error::Source {
            file: name.into(),
            reason: reason.to_string(),
            hint: nsfwjs::HINT,
        })
    })?;
    Ok(ImportedBase::new(source))
}

fn import_url(url: &str, retry: bool, range: Option<InputRange>) -> CliResult<ImportedBase> {
    let bytes = fetch::download(url, retry)?;
    let name = url.split(['?', '#']).next().unwrap_or(url);
    let name = name.rsplit('/').next().unwrap_or(name);
    let mut base =
        import_files(&[(name.into(), bytes)], range).map_err(|error| format!("{url}: {error}"))?;
    let info = &mut base.source.info;
    if url == IMAGENET_URL {
        info.name = "timm inception_v3.tf_in1k".into();
        info.licence = "Apache-2.0".into();
        info.note = "Trained on ImageNet's 1,000 classes of photographs.".into();
    }
    // A file in the native format has self-test latents and keeps its own source.
    if info.self_test_latents.is_empty() {
        info.source = url.into();
    }
    Ok(base)
}

/// Imports a weights file of any supported format, or a folder with the files of one model.
fn import_path(path: &Path, range: Option<InputRange>) -> CliResult<ImportedBase> {
    let paths = match path.is_dir() {
        true => entries(path)?,
        false => vec![path.to_path_buf()],
    };
    let files: Vec<_> = paths
        .iter()
        .filter(|path| path.is_file() || paths.len() == 1)
        .map(|path| Ok((file_name(path), read(path)?)))
        .collect::<CliResult<_>>()?;
    import_files(&files, range).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn import_files(files: &[(String, Vec<u8>)], range: Option<InputRange>) -> CliResult<ImportedBase> {
    if let [(_, bytes)] = files
        && Weights::is_native(bytes)
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
