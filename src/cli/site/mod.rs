//! The page's files: `www`, the npm libraries, the WebAssembly builds, the base, and `pkg/site.json`, which lists them.

pub mod licences;
pub mod wasm;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime},
};

use brotli::{BrotliCompress, enc::BrotliEncoderParams};
use inception_web::{head::Head, train::Settings, weights::Weights};
use serde_json::{Value, json};

use super::{
    base, fetch,
    files::{entries, file_name, read, sha256, write},
    npm,
    options::SiteArgs,
    result::{CliResult, with_path},
};
use licences::THIRD_PARTY;
use wasm::{RUNTIMES, Runtime};

/// The ten-class head, relative to `pkg/`; it fits the default base only.
const HEAD: &str = "../ten-classes/head.safetensors";

/// A site that can be served while parts of it are still being built.
pub struct Site {
    root: PathBuf,
    profile: String,
    /// The base's file.
    pub base: PathBuf,
    /// The constant part of `pkg/site.json`: the base, the head that fits it and the default training settings.
    constants: Value,
    builds: Mutex<Builds>,
    hashes: Mutex<Hashes>,
}

/// Length and SHA-256 of files, with the modification time for which they hold.
type Hashes = HashMap<PathBuf, (SystemTime, usize, String)>;

/// The state of the WebAssembly builds, by name.
#[derive(Default)]
struct Builds {
    done: BTreeMap<&'static str, Build>,
    pending: BTreeSet<&'static str>,
}

/// A finished build.
struct Build {
    bytes: usize,
    /// The first digits of the SHA-256, for URLs that may be cached forever.
    version: String,
}

impl Site {
    /// Prepares what the page needs to answer: the base, the npm packages and the first WebAssembly build. Builds that are still up to date
    /// are part of the site as well.
    pub fn prepare(root: &Path, args: &SiteArgs) -> CliResult<Site> {
        let base = base::resolve(&args.weights)?;
        let bytes = read(&base)?;
        let weights = with_path(&base, Weights::open(&bytes))?;
        licences::write_list(root, &npm::libraries(root)?)?;
        let head = root.join("www/ten-classes/head.safetensors");
        let head = with_path(&head, Head::open(&read(&head)?))?;
        let sha256 = sha256(&bytes);
        let constants = json!({
            "weights": {
                "url": format!("base.safetensors?v={}", &sha256[..12]),
                "bytes": bytes.len(),
                "sha256": sha256,
                "fingerprint": weights.fingerprint,
                "dtype": weights.dtype.name(),
            },
            "head": (head.base.fingerprint == weights.fingerprint).then_some(HEAD),
            "training": Settings::default(),
        });
        let site = Site {
            root: root.to_path_buf(),
            profile: args.profile.clone(),
            base,
            constants,
            builds: Mutex::default(),
            hashes: Mutex::default(),
        };
        if site.owns_base()? {
            remove_outdated_brotli(&site.base)?;
        }
        for runtime in &RUNTIMES {
            match runtime.is_current(root, &args.profile)? {
                true => site.add(runtime)?,
                false => _ = site.builds().pending.insert(runtime.name),
            }
        }
        let first = &RUNTIMES[0];
        if site.is_pending(first) {
            site.build(first)?;
        }
        Ok(site)
    }

    /// Makes the remaining builds, then compresses the large files. Call it on another thread to serve the page meanwhile.
    ///
    /// # Errors
    /// All failures; the other builds are made nevertheless.
    pub fn complete(&self) -> CliResult {
        let mut errors = Vec::new();
        let mut note =
            |result: CliResult| errors.extend(result.err().map(|error| error.to_string()));
        for runtime in RUNTIMES.iter().filter(|runtime| self.is_pending(runtime)) {
            note(self.build(runtime));
        }
        for runtime in &RUNTIMES {
            let path = runtime.path(&self.root);
            if path.exists() {
                note(write_brotli(&path));
            }
        }
        if self.owns_base()? {
            note(write_brotli(&self.base));
        }
        match errors.is_empty() {
            true => Ok(()),
            false => Err(errors.join("; ").into()),
        }
    }

    /// Whether the base's file belongs to this program. No files are written or deleted next to a user's own weights file.
    fn owns_base(&self) -> CliResult<bool> {
        Ok(self.base.starts_with(self.root.join("pkg"))
            || self.base.starts_with(fetch::cache_dir()?))
    }

    /// Names of the builds that are not finished yet.
    pub fn pending(&self) -> Vec<&'static str> {
        self.builds().pending.iter().copied().collect()
    }

    /// `pkg/site.json`: the base, the head, the builds (finished and `pending`), every file of the page as [path, bytes, SHA-256], and a
    /// `version` that changes with any of them. A service worker caches the page by this list. The base is not in it: it is cached by its
    /// fingerprint.
    pub fn manifest(&self) -> CliResult<Value> {
        let mut manifest = self.constants.clone();
        let mut folders = vec![
            ("www".to_string(), String::new()),
            ("pkg/npm".to_string(), "npm/".to_string()),
        ];
        {
            let builds = self.builds();
            let done = builds.done.iter().map(|(name, build)| {
                let entry = json!({ "bytes": build.bytes, "version": build.version });
                (name.to_string(), entry)
            });
            manifest["runtimes"] = Value::Object(done.collect());
            manifest["pending"] = json!(builds.pending);
            folders.extend(
                builds
                    .done
                    .keys()
                    .map(|name| (format!("pkg/{name}"), format!("pkg/{name}/"))),
            );
        }
        let mut files = BTreeMap::new();
        for (folder, url) in folders {
            self.list_files(&self.root.join(folder), &url, &mut files)?;
        }
        files.insert(THIRD_PARTY.into(), self.hash(&self.root.join(THIRD_PARTY))?);
        let text = json!([manifest, files]).to_string();
        manifest["version"] = sha256(text.as_bytes())[..16].into();
        manifest["files"] = files
            .into_iter()
            .map(|(url, (bytes, sha256))| json!([url, bytes, sha256]))
            .collect();
        Ok(manifest)
    }

    /// Makes one build and adds it to the site.
    fn build(&self, runtime: &Runtime) -> CliResult {
        let position = RUNTIMES.len() - self.builds().pending.len() + 1;
        eprintln!(
            "building pkg/{} ({position} of {}): {}",
            runtime.name,
            RUNTIMES.len(),
            runtime.purpose
        );
        let start = Instant::now();
        let built = runtime
            .build(&self.root, &self.profile)
            .and_then(|()| self.add(runtime));
        self.builds().pending.remove(runtime.name);
        if built.is_ok() {
            eprintln!(
                "pkg/{} is ready after {} s",
                runtime.name,
                start.elapsed().as_secs()
            );
        }
        built
    }

    fn add(&self, runtime: &Runtime) -> CliResult {
        let path = runtime.path(&self.root);
        remove_outdated_brotli(&path)?;
        let wasm = read(&path)?;
        let build = Build {
            bytes: wasm.len(),
            version: sha256(&wasm)[..12].into(),
        };
        self.builds().done.insert(runtime.name, build);
        Ok(())
    }

    /// Adds the files of a folder that the page loads to a list of [bytes, SHA-256] by URL.
    fn list_files(
        &self,
        folder: &Path,
        url: &str,
        files: &mut BTreeMap<String, (usize, String)>,
    ) -> CliResult {
        for path in entries(folder)? {
            let name = file_name(&path);
            if path.is_dir() {
                self.list_files(&path, &format!("{url}{name}/"), files)?;
            } else if !name.ends_with(".br") && !name.ends_with(".d.ts") && name != "sw.js" {
                files.insert(format!("{url}{name}"), self.hash(&path)?);
            }
        }
        Ok(())
    }

    /// Length and SHA-256 of a file, read again only after it was modified.
    fn hash(&self, path: &Path) -> CliResult<(usize, String)> {
        let modified = fs::metadata(path).and_then(|file| file.modified());
        let modified = modified.map_err(|error| format!("{}: {error}", path.display()))?;
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((time, bytes, sha256)) = hashes.get(path)
            && *time == modified
        {
            return Ok((*bytes, sha256.clone()));
        }
        let contents = read(path)?;
        let hash = (contents.len(), sha256(&contents));
        hashes.insert(path.into(), (modified, hash.0, hash.1.clone()));
        Ok(hash)
    }

    fn is_pending(&self, runtime: &Runtime) -> bool {
        self.builds().pending.contains(runtime.name)
    }

    fn builds(&self) -> MutexGuard<'_, Builds> {
        self.builds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The brotli file beside a file: `FILE.br`.
pub fn brotli_path(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.br", path.display()))
}

/// Whether `FILE.br` exists and is as new as the file.
fn is_brotli_current(path: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|file| file.modified());
    modified(&brotli_path(path))
        .is_ok_and(|packed| modified(path).is_ok_and(|changed| packed >= changed))
}

/// Deletes a `FILE.br` that is older than the file: a server would send it in the file's place.
fn remove_outdated_brotli(path: &Path) -> CliResult {
    let packed = brotli_path(path);
    if packed.exists() && !is_brotli_current(path) {
        fs::remove_file(&packed).map_err(|error| format!("{}: {error}", packed.display()))?;
    }
    Ok(())
}

/// Writes `FILE.br` beside a large file, unless it is current.
fn write_brotli(path: &Path) -> CliResult {
    if is_brotli_current(path) {
        return Ok(());
    }
    let bytes = read(path)?;
    // Weights do not compress better above quality 5. For wasm, quality 11 takes three times as long as 9 and saves an eighth.
    let weights = path
        .extension()
        .is_some_and(|extension| extension == "safetensors");
    let settings = BrotliEncoderParams {
        quality: if weights { 5 } else { 9 },
        lgwin: 24,
        size_hint: bytes.len(),
        ..Default::default()
    };
    let mut out = Vec::new();
    BrotliCompress(&mut bytes.as_slice(), &mut out, &settings)?;
    write(&brotli_path(path), &out)
}
