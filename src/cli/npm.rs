//! The npm packages in `package-lock.json`: the libraries of the page, the default base and ImageNet's class names.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::files::{Outcome, read, run_checked, write_if_changed};

/// A file of an npm package, its name beside the page, and what it exports if it is UMD, which a module cannot import as it is.
const LIBRARIES: [(&str, &str, Option<&str>); 6] = [
    ("idb/build/index.js", "idb.js", None),
    ("uplot/dist/uPlot.esm.js", "uplot.js", None),
    ("uplot/dist/uPlot.min.css", "uplot.css", None),
    (
        "@zip.js/zip.js/dist/zip-core-external.min.js",
        "zip.js",
        None,
    ),
    ("umap-js/lib/umap-js.min.js", "umap.js", Some("UMAP")),
    (
        "wasm-feature-detect/dist/esm/index.js",
        "wasm-feature-detect.js",
        None,
    ),
];
/// A package of `package-lock.json`.
pub struct Package {
    /// From the project's folder.
    pub folder: String,
    pub version: String,
}

/// Sees to it that the npm packages of the page are there in the locked versions, and lists them.
fn install(root: &Path) -> Outcome<Vec<Package>> {
    let packages = locked(root)?;
    let there = |package: &Package| {
        let installed = read(&root.join(&package.folder).join("package.json")).ok();
        let installed: Option<Value> =
            installed.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        installed.is_some_and(|installed| installed["version"] == package.version.as_str())
    };
    if !packages.iter().all(there) {
        eprintln!("installing npm packages");
        let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
        let mut command = Command::new(npm);
        command
            .args(["ci", "--no-audit", "--no-fund"])
            .current_dir(root);
        // Where the tools of the tests are installed, they stay.
        if !root.join("node_modules/@playwright/test").exists() {
            command.arg("--omit=dev");
        }
        run_checked(
            &mut command,
            "install Node.js 20.15 or later (https://nodejs.org)",
        )?;
    }
    Ok(packages)
}

/// The locked packages, without those that only tests use.
fn locked(root: &Path) -> Outcome<Vec<Package>> {
    let path = root.join("package-lock.json");
    let lock: Value = serde_json::from_slice(&read(&path)?)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let all = lock["packages"].as_object().into_iter().flatten();
    Ok(all
        .filter(|(folder, package)| !folder.is_empty() && package["dev"] != true)
        .map(|(folder, package)| Package {
            folder: folder.clone(),
            version: package["version"].as_str().unwrap_or_default().into(),
        })
        .collect())
}

/// Where the npm package keeps the default base.
pub fn nsfwjs_folder(root: &Path) -> Outcome<PathBuf> {
    install(root)?;
    Ok(root.join("node_modules/nsfwjs/dist/models/inception_v3"))
}

/// ImageNet's 1,000 classes, in the order that every Inception V3 answers in.
pub fn imagenet_classes(root: &Path) -> Outcome<Vec<String>> {
    install(root)?;
    let path = root.join("node_modules/@tensorflow-models/mobilenet/dist/imagenet_classes.js");
    let text = String::from_utf8(read(&path)?)?;
    // An object of texts by number, some of them sums of two.
    let object = text
        .split_once("IMAGENET_CLASSES = {")
        .and_then(|(_, rest)| rest.split_once("};"));
    let (object, _) = object.ok_or_else(|| format!("{}: no list of classes", path.display()))?;
    let joined: String = object
        .split("' +")
        .map(|part| part.trim_start().strip_prefix('\'').unwrap_or(part))
        .collect();
    // Values are no names in JSON5.
    let lines = joined
        .lines()
        .map(|line| match line.trim().split_once(": ") {
            Some((number, name)) => format!("\"{number}\": {name}"),
            None => line.into(),
        });
    let classes: BTreeMap<u32, String> =
        json5::from_str(&format!("{{{}}}", lines.collect::<String>()))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(classes.into_values().collect())
}

/// Copies the libraries of the page to `pkg/npm`, each one file, and lists all that the page is made of.
pub fn libraries(root: &Path) -> Outcome<Vec<Package>> {
    let packages = install(root)?;
    let out = root.join("pkg/npm");
    for (file, name, umd) in LIBRARIES {
        let mut text = fs::read_to_string(root.join("node_modules").join(file))
            .map_err(|error| format!("{file}: {error}"))?;
        if let Some(export) = umd {
            text = format!(
                "const scope = {{}};\n(function () {{\n{text}\n}}).call(scope);\nexport const {{ {export} }} = scope.{export};\n"
            );
        }
        write_if_changed(&out.join(name), &text)?;
    }
    let classes = serde_json::to_string(&imagenet_classes(root)?)?;
    write_if_changed(&out.join("imagenet.json"), &classes)?;
    Ok(packages)
}
