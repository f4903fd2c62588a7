//! `pkg/THIRD_PARTY.txt`: what of others the page is made of, and under which licences: crates that are compiled into its programs, and
//! npm packages.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use inception_web::format::hex;
use sha2::{Digest, Sha256};

use super::wasm::{TARGET, require_target, target};
use crate::cli::{
    files::{Outcome, entries, file_name, read, write, write_if_changed},
    npm::Package,
};

/// The list of third-party packages in the page, with their licences.
pub const THIRD_PARTY: &str = "pkg/THIRD_PARTY.txt";

/// What `cargo` is asked about: the page's programs, all of them together.
const PROGRAMS: [&str; 4] = [
    "--locked",
    "--no-default-features",
    "--features",
    "webgpu,convert,train",
];

/// Something made by others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// Its name and version.
    pub name: String,
    /// As SPDX writes it.
    pub licence: String,
    folder: PathBuf,
}

/// A part out of npm, with its own word for its licence.
pub fn package(name: &str, version: &str, folder: PathBuf) -> Outcome<Part> {
    let package: Value = serde_json::from_slice(&read(&folder.join("package.json"))?)?;
    let licence = package["license"].as_str();
    Ok(Part {
        name: format!("{name} {version} (npm)"),
        licence: licence
            .ok_or_else(|| format!("{}: no licence", folder.display()))?
            .into(),
        folder,
    })
}

/// The crates that are compiled into the page's programs; macros are not, for they only run while it is built.
pub fn crates(root: &Path, target: &str) -> Outcome<Vec<Part>> {
    let metadata = ["metadata", "--format-version", "1", "--filter-platform"];
    let metadata = cargo(root, &[&metadata[..], &[target], &PROGRAMS].concat())?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let folders: BTreeMap<_, _> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|package| {
            let text = |key: &str| package[key].as_str();
            let folder = Path::new(text("manifest_path")?).parent()?;
            Some(((text("name")?, text("version")?), folder.to_path_buf()))
        })
        .collect();
    let tree = [
        "tree",
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "none",
    ];
    let lines = ["--format", "{p}\t{l}", "--no-dedupe", "--target", target];
    let tree = cargo(root, &[&tree[..], &lines, &PROGRAMS].concat())?;
    let mut parts = BTreeSet::new();
    for line in tree.lines().skip(1) {
        let (package, licence) = line.split_once('\t').unwrap_or((line, ""));
        let mut words = package.split(' ');
        let (name, version) = (words.next(), words.next().unwrap_or_default());
        let name = name.unwrap_or_default();
        let version = version.trim_start_matches('v');
        let folder = folders
            .get(&(name, version))
            .ok_or_else(|| format!("cargo does not know where {name} {version} lies"))?;
        parts.insert(Part {
            name: format!("{name} {version}"),
            // Older manifests have a slash where SPDX has a word.
            licence: licence.replace(" / ", "/").replace('/', " OR "),
            folder: folder.clone(),
        });
    }
    Ok(parts.into_iter().collect())
}

/// What `cargo` prints.
fn cargo(root: &Path, arguments: &[&str]) -> Outcome<String> {
    let output = Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args(arguments)
        .current_dir(root)
        .output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
    }
}

/// The list of all parts, then each text once, under the names of those that it belongs to.
pub fn listing(parts: &[Part]) -> Outcome<String> {
    let mut texts: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for part in parts {
        for text in texts_of(part)? {
            texts.entry(text).or_default().push(&part.name);
        }
    }
    let list: String = parts
        .iter()
        .map(|part| format!("{}: {}\n", part.name, part.licence))
        .collect();
    let texts: String = texts
        .iter()
        .map(|(text, names)| format!("\n\n\n==== {}\n\n{text}\n", names.join(", ")))
        .collect();
    Ok(format!(
        "What this page is made of besides its own code, and Rust's standard library (MIT OR Apache-2.0). Made by its build.\n\n{list}{texts}"
    ))
}

/// A part's texts, of those to choose from the MIT licence's; a part without any names its licence's address.
fn texts_of(part: &Part) -> Outcome<Vec<String>> {
    let mut found = Vec::new();
    for path in entries(&part.folder)? {
        let name = file_name(&path).to_uppercase();
        let is_text = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"]
            .iter()
            .any(|start| name.starts_with(start));
        if is_text && path.is_file() {
            let text = String::from_utf8_lossy(&fs::read(&path)?)
                .replace("\r\n", "\n")
                .trim()
                .to_string();
            found.push((name, text));
        }
    }
    if part.licence.contains(" OR ") && found.iter().any(|(name, _)| name.contains("MIT")) {
        found.retain(|(name, _)| name.contains("MIT") || name.starts_with("NOTICE"));
    }
    if found.is_empty() {
        let addresses: Vec<_> = part
            .licence
            .split([' ', '(', ')'])
            .filter(|word| !["", "OR", "AND", "WITH"].contains(word))
            .map(|licence| format!("https://spdx.org/licenses/{licence}.html"))
            .collect();
        found.push((String::new(), addresses.join("\n")));
    }
    Ok(found.into_iter().map(|(_, text)| text).collect())
}

/// Lists what of others is in the page, where the locks say that it may be something else than at the last time.
pub fn write_list(root: &Path, packages: &[Package]) -> Outcome {
    let (list, stamp) = (root.join(THIRD_PARTY), target(root).join("licences.stamp"));
    let mut hash = Sha256::new();
    for file in ["Cargo.toml", "Cargo.lock", "package-lock.json"] {
        hash.update(read(&root.join(file))?);
    }
    let locks = hex(&hash.finalize());
    if list.exists() && fs::read_to_string(&stamp).is_ok_and(|listed| listed == locks) {
        return Ok(());
    }
    require_target()?;
    let mut parts = crates(root, TARGET)?;
    for Package { folder, version } in packages {
        let name = folder.rsplit("node_modules/").next().unwrap_or(folder);
        parts.push(package(name, version, root.join(folder))?);
    }
    parts.sort();
    parts.dedup_by(|a, b| a.name == b.name);
    write_if_changed(&list, &listing(&parts)?)?;
    write(&stamp, locks.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The licences that deny.toml allows.
    fn allowed(root: &Path) -> BTreeSet<String> {
        let text = fs::read_to_string(root.join("deny.toml")).expect("deny.toml");
        let (_, list) = text.split_once("allow = [").expect("a list of licences");
        let (list, _) = list.split_once(']').expect("its end");
        list.split('"')
            .skip(1)
            .step_by(2)
            .map(str::to_string)
            .collect()
    }

    #[test]
    fn every_crate_in_the_page_is_listed_under_a_licence_that_is_allowed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let parts = crates(root, "wasm32-unknown-unknown").expect("cargo knows the crates");
        let allowed = allowed(root);
        for Part { name, licence, .. } in &parts {
            let all = licence.split(" AND ").all(|choice| {
                let mut choices = choice.trim_matches(['(', ')']).split(" OR ");
                choices.any(|licence| allowed.contains(licence))
            });
            assert!(
                all,
                "{name} is under {licence}, which deny.toml does not allow"
            );
        }
        let listing = listing(&parts).expect("texts");
        for name in ["burn", "wasm-bindgen", "image", "safetensors"] {
            let lines = listing.lines();
            let lines: Vec<_> = lines
                .filter(|line| line.starts_with(&format!("{name} ")))
                .collect();
            assert!(lines.iter().any(|line| line.contains(": ")), "{name}");
        }
        assert!(listing.contains("Permission is hereby granted, free of charge"));
        // What only runs while the page is built, or on the command line, is not in the page.
        assert!(!listing.contains("\nserde_derive ") && !listing.contains("\naxum "));
    }
}
