//! Checks that all dependencies are pinned: every lock file has a hash for every package.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use inception_web::{head::Head, weights::Weights};
use serde_json::Value;

fn text(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn crates_come_from_the_registry_with_a_checksum() {
    for (file, own) in [
        ("Cargo.lock", &["inception-web"][..]),
        (
            "tests/fuzz/Cargo.lock",
            &["inception-web", "inception-web-fuzz"],
        ),
    ] {
        let lock = text(file);
        let mut others = 0;
        for package in lock.split("[[package]]").skip(1) {
            let value = |key: &str| {
                let start = format!("{key} = \"");
                let line = package.lines().find_map(|line| line.strip_prefix(&start));
                line.and_then(|rest| rest.strip_suffix('"'))
            };
            let name = value("name").expect("a name");
            if own.contains(&name) {
                assert_eq!(value("source"), None, "{name} in {file}");
                continue;
            }
            others += 1;
            let registry = value("source").is_some_and(|from| from.starts_with("registry+"));
            let hashed = value("checksum").is_some_and(|hash| hash.len() == 64);
            assert!(
                registry && hashed,
                "{name} in {file} has no registry or no checksum"
            );
        }
        assert!(others > 100, "{file} has {others} packages");
    }
}

#[test]
fn npm_packages_have_hashes_and_runtime_ones_no_install_scripts() {
    for file in ["package-lock.json", "bench/package-lock.json"] {
        let lock: Value = serde_json::from_str(&text(file)).expect("JSON");
        let packages = lock["packages"].as_object().expect("packages");
        for (folder, package) in packages.iter().filter(|(folder, _)| !folder.is_empty()) {
            let hash = package["integrity"].as_str().unwrap_or_default();
            assert!(hash.starts_with("sha512-"), "{folder} in {file}");
            assert_eq!(package["link"], Value::Null, "{folder} in {file}");
            let runs = package["hasInstallScript"] == true;
            assert!(!runs || package["dev"] == true, "{folder} in {file}");
        }
    }
}

#[test]
fn python_packages_have_pinned_versions() {
    for file in [
        "tests/exports.requirements.txt",
        "bench/models.requirements.txt",
    ] {
        let names: BTreeSet<_> = text(file)
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| {
                line.split_once("==")
                    .unwrap_or_else(|| panic!("{line} in {file}"))
                    .0
                    .to_string()
            })
            .collect();
        assert!(names.len() > 2, "{file}");
    }
}

#[test]
fn the_npm_base_matches_the_shipped_head() {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("supply.safetensors");
    let status = Command::new(env!("CARGO_BIN_EXE_inception-web"))
        .args(["weights", "--from", "npm", "--out"])
        .arg(&out)
        .status();
    assert!(status.expect("started").success());
    let base = fs::read(&out).expect("the base");
    let head = Path::new(env!("CARGO_MANIFEST_DIR")).join("www/ten-classes/head.safetensors");
    let head = Head::open(&fs::read(head).expect("the head")).expect("a head");
    let base = Weights::open(&base).expect("weights");
    assert_eq!(base.fingerprint, head.base.fingerprint);
}
