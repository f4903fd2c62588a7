//! Everything the page is made of: npm packages, the two wasm builds in `pkg/`, the default base; `build` copies it to a folder.

pub mod licences;
pub mod wasm;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use brotli::{BrotliCompress, enc::BrotliEncoderParams};
use inception_web::{head::Head, train::Settings, weights::Weights};
use serde_json::{Value, json};

use super::{
    base, fetch,
    files::{Outcome, at, entries, file_name, read, sha256, write},
    npm,
};
use licences::THIRD_PARTY;
use wasm::{RUNTIMES, runtime};

/// The ten-class head, from `pkg/`; it belongs to the npm base alone.
const HEAD: &str = "../ten-classes/head.safetensors";

/// What the page asks for at its start.
pub struct Site {
    /// `pkg/site.json`: where the base, the head and the two builds are, their lengths and hashes.
    pub manifest: Value,
    /// The base's file.
    pub base: PathBuf,
}

/// Builds what is missing or old.
pub fn prepare(root: &Path, weights: &str, profile: &str) -> Outcome<Site> {
    let base = base::find(weights)?;
    let bytes = read(&base)?;
    let opened = at(&base, Weights::open(&bytes))?;
    if base.starts_with(root.join("pkg")) || base.starts_with(fetch::cache()?) {
        pack(&base)?;
    }
    licences::write_list(root, &npm::libraries(root)?)?;
    let mut runtimes = serde_json::Map::new();
    for (name, features) in RUNTIMES {
        let path = runtime(root, name, features, profile)?;
        pack(&path)?;
        let wasm = read(&path)?;
        runtimes.insert(
            name.into(),
            json!({ "bytes": wasm.len(), "version": &sha256(&wasm)[..12] }),
        );
    }
    let head = root.join("www/ten-classes/head.safetensors");
    let head_fits = at(&head, Head::open(&read(&head)?))?.base.fingerprint == opened.fingerprint;
    let sha256 = sha256(&bytes);
    let manifest = json!({
        "weights": {
            "url": format!("base.safetensors?v={}", &sha256[..12]),
            "bytes": bytes.len(),
            "sha256": sha256,
            "fingerprint": opened.fingerprint,
            "dtype": opened.dtype.name(),
        },
        "head": head_fits.then_some(HEAD),
        "runtimes": runtimes,
        "training": Settings::default(),
    });
    Ok(Site { manifest, base })
}

/// The manifest with all files of the page as they are now, [address, bytes, SHA-256] each, and one `version` of them all: what a browser
/// needs to keep the page whole. The base is not among them, for it is kept by its fingerprint.
pub fn listed(root: &Path, manifest: &Value) -> Outcome<Value> {
    let mut files = BTreeMap::new();
    let builds = RUNTIMES.map(|(name, _)| (format!("pkg/{name}"), format!("pkg/{name}/")));
    let folders = [("www".into(), "".into()), ("pkg/npm".into(), "npm/".into())];
    for (folder, place) in folders.into_iter().chain(builds) {
        let folder = root.join(folder);
        let mut left = vec![folder.clone()];
        while let Some(inner) = left.pop() {
            for path in entries(&inner)? {
                let name = file_name(&path);
                if path.is_dir() {
                    left.push(path);
                } else if ![".br", ".d.ts", ".wasm.d.ts"]
                    .iter()
                    .any(|end| name.ends_with(end))
                    && name != "sw.js"
                {
                    let within: Vec<_> = path
                        .strip_prefix(&folder)?
                        .iter()
                        .map(|part| part.to_string_lossy())
                        .collect();
                    let bytes = read(&path)?;
                    files.insert(
                        format!("{place}{}", within.join("/")),
                        (bytes.len(), sha256(&bytes)),
                    );
                }
            }
        }
    }
    let licences = read(&root.join(THIRD_PARTY))?;
    files.insert(THIRD_PARTY.into(), (licences.len(), sha256(&licences)));
    let mut manifest = manifest.clone();
    let text = json!([manifest, files]).to_string();
    manifest["version"] = sha256(text.as_bytes())[..16].into();
    manifest["files"] = json!(
        files
            .into_iter()
            .map(|(name, (bytes, sha256))| json!([name, bytes, sha256]))
            .collect::<Vec<_>>()
    );
    Ok(manifest)
}

/// Writes `FILE.br` beside a large file, for browsers that unpack brotli, unless it is there and as new.
fn pack(path: &Path) -> Outcome {
    let packed = PathBuf::from(format!("{}.br", path.display()));
    let age = |path: &Path| fs::metadata(path).and_then(|file| file.modified());
    if age(&packed).is_ok_and(|made| age(path).is_ok_and(|changed| made >= changed)) {
        return Ok(());
    }
    eprintln!("packing {}", path.display());
    let bytes = read(path)?;
    // Values have nothing that a longer search would find, and at 9 come out larger. Elsewhere 11 takes three times as long as 9 for an eighth less.
    let numbers = path.extension().is_some_and(|end| end == "safetensors");
    let settings = BrotliEncoderParams {
        quality: if numbers { 5 } else { 9 },
        lgwin: 24,
        size_hint: bytes.len(),
        ..Default::default()
    };
    let mut out = Vec::new();
    BrotliCompress(&mut bytes.as_slice(), &mut out, &settings)?;
    write(&packed, &out)
}
