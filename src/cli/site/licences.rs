//! Writes `pkg/THIRD_PARTY.txt`: the third-party crates and npm packages in the page, with their licence texts.

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
    files::{entries, file_name, read, write, write_if_changed},
    npm::Package,
    result::CliResult,
};

/// Path of the list in the project's folder.
pub const THIRD_PARTY: &str = "pkg/THIRD_PARTY.txt";

/// Cargo arguments that select the features of all WebAssembly builds together.
const FEATURE_ARGS: [&str; 4] = [
    "--locked",
    "--no-default-features",
    "--features",
    "webgpu,convert,train",
];

/// A third-party crate or npm package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Dependency {
    /// Name and version.
    name: String,
    /// An SPDX expression.
    licence: String,
    folder: PathBuf,
}

/// Writes the list, unless the manifest and the lock files are the same as last time.
pub fn write_list(root: &Path, packages: &[Package]) -> CliResult {
    let list = root.join(THIRD_PARTY);
    let hash_file = target(root).join("licences.stamp");
    let mut hash = Sha256::new();
    for file in ["Cargo.toml", "Cargo.lock", "package-lock.json"] {
        hash.update(read(&root.join(file))?);
    }
    let hash = hex(&hash.finalize());
    if list.exists() && fs::read_to_string(&hash_file).is_ok_and(|old| old == hash) {
        return Ok(());
    }
    require_target()?;
    let mut dependencies = crates(root, TARGET)?;
    for Package { folder, version } in packages {
        let name = folder.rsplit("node_modules/").next().unwrap_or(folder);
        dependencies.push(npm_package(name, version, root.join(folder))?);
    }
    dependencies.sort();
    dependencies.dedup_by(|a, b| a.name == b.name);
    write_if_changed(&list, &listing(&dependencies)?)?;
    write(&hash_file, hash.as_bytes())
}

/// Describes an npm package by its `package.json`.
fn npm_package(name: &str, version: &str, folder: PathBuf) -> CliResult<Dependency> {
    let package: Value = serde_json::from_slice(&read(&folder.join("package.json"))?)?;
    let licence = package["license"].as_str();
    Ok(Dependency {
        name: format!("{name} {version} (npm)"),
        licence: licence
            .ok_or_else(|| format!("{}: package.json has no \"license\"", folder.display()))?
            .into(),
        folder,
    })
}

/// Lists the crates that are compiled into the WebAssembly builds. Procedural macros are not, as they only run at build time.
fn crates(root: &Path, target: &str) -> CliResult<Vec<Dependency>> {
    let metadata = ["metadata", "--format-version", "1", "--filter-platform"];
    let metadata = cargo(root, &[&metadata[..], &[target], &FEATURE_ARGS].concat())?;
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
    let tree = cargo(root, &[&tree[..], &lines, &FEATURE_ARGS].concat())?;
    let mut dependencies = BTreeSet::new();
    for line in tree.lines().skip(1) {
        let (package, licence) = line.split_once('\t').unwrap_or((line, ""));
        let mut fields = package.split(' ');
        let name = fields.next().unwrap_or_default();
        let version = fields.next().unwrap_or_default().trim_start_matches('v');
        let folder = folders
            .get(&(name, version))
            .ok_or_else(|| format!("cargo metadata does not list {name} {version}"))?;
        dependencies.insert(Dependency {
            name: format!("{name} {version}"),
            // Older manifests have `/` instead of SPDX's `OR`.
            licence: licence.replace(" / ", "/").replace('/', " OR "),
            folder: folder.clone(),
        });
    }
    Ok(dependencies.into_iter().collect())
}

/// Runs `cargo` and returns its output.
fn cargo(root: &Path, arguments: &[&str]) -> CliResult<String> {
    let output = Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args(arguments)
        .current_dir(root)
        .output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
    }
}

/// Renders the list of dependencies, followed by each distinct licence text with the names of its dependencies.
fn listing(dependencies: &[Dependency]) -> CliResult<String> {
    let mut texts: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for dependency in dependencies {
        for text in licence_texts(dependency)? {
            texts.entry(text).or_default().push(&dependency.name);
        }
    }
    let list: String = dependencies
        .iter()
        .map(|dependency| format!("{}: {}\n", dependency.name, dependency.licence))
        .collect();
    let texts: String = texts
        .iter()
        .map(|(text, names)| format!("\n\n\n==== {}\n\n{text}\n", names.join(", ")))
        .collect();
    Ok(format!(
        "Third-party software in this page, in addition to Rust's standard library (MIT OR Apache-2.0). Generated by the build.\n\n{list}{texts}"
    ))
}

/// Returns the licence texts of a dependency: only the MIT text if there is a choice, and the licence's URL if there is no text.
fn licence_texts(dependency: &Dependency) -> CliResult<Vec<String>> {
    let mut found = Vec::new();
    for path in entries(&dependency.folder)? {
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
    if dependency.licence.contains(" OR ") && found.iter().any(|(name, _)| name.contains("MIT")) {
        found.retain(|(name, _)| name.contains("MIT") || name.starts_with("NOTICE"));
    }
    if found.is_empty() {
        let urls: Vec<_> = dependency
            .licence
            .split([' ', '(', ')'])
            .filter(|token| !["", "OR", "AND", "WITH"].contains(token))
            .map(|licence| format!("https://spdx.org/licenses/{licence}.html"))
            .collect();
        found.push((String::new(), urls.join("\n")));
    }
    Ok(found.into_iter().map(|(_, text)| text).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the licences that deny.toml allows.
    fn allowed_licences(root: &Path) -> BTreeSet<String> {
        let text = fs::read_to_string(root.join("deny.toml")).expect("deny.toml");
        let (_, list) = text.split_once("allow = [").expect("a list of licences");
        let (list, _) = list.split_once(']').expect("the end of the list");
        list.split('"')
            .skip(1)
            .step_by(2)
            .map(str::to_string)
            .collect()
    }

    #[test]
    fn every_crate_in_the_page_is_listed_with_an_allowed_licence() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let dependencies = crates(root, TARGET).expect("crates of the page");
        assert!(
            dependencies.len() > 50,
            "only {} crates",
            dependencies.len()
        );
        let allowed = allowed_licences(root);
        for Dependency { name, licence, .. } in &dependencies {
            let is_allowed = licence.split(" AND ").all(|choice| {
                let mut choices = choice.trim_matches(['(', ')']).split(" OR ");
                choices.any(|licence| allowed.contains(licence))
            });
            assert!(
                is_allowed,
                "{name} is under {licence}, which deny.toml does not allow"
            );
        }
        let listing = listing(&dependencies).expect("licence texts");
        for name in ["burn-core", "wasm-bindgen", "image", "safetensors"] {
            let lines = listing.lines();
            let lines: Vec<_> = lines
                .filter(|line| line.starts_with(&format!("{name} ")))
                .collect();
            assert!(lines.iter().any(|line| line.contains(": ")), "{name}");
        }
        assert!(listing.contains("Permission is hereby granted, free of charge"));
        // Build-time and command-line crates are not in the page.
        assert!(!listing.contains("\nserde_derive ") && !listing.contains("\naxum "));
    }
}
