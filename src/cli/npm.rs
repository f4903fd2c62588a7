//! The npm packages of `package-lock.json`: the page's libraries, the default base and ImageNet's class names.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{
    files::{read, write_if_changed},
    process::run_checked,
    result::CliResult,
};

/// A JavaScript or CSS file of a package that the page loads.
struct Library {
    /// In `node_modules`.
    file: &'static str,
    /// In `pkg/npm`.
    name: &'static str,
    /// The global that a UMD file exports. Such a file cannot be imported as a module and gets a wrapper.
    umd: Option<&'static str>,
}

const LIBRARIES: [Library; 6] = [
    Library::module("idb/build/index.js", "idb.js"),
    Library::module("uplot/dist/uPlot.esm.js", "uplot.js"),
    Library::module("uplot/dist/uPlot.min.css", "uplot.css"),
    Library::module("@zip.js/zip.js/dist/zip-core-external.min.js", "zip.js"),
    Library {
        file: "umap-js/lib/umap-js.min.js",
        name: "umap.js",
        umd: Some("UMAP"),
    },
    Library::module(
        "wasm-feature-detect/dist/esm/index.js",
        "wasm-feature-detect.js",
    ),
];

impl Library {
    const fn module(file: &'static str, name: &'static str) -> Library {
        Library {
            file,
            name,
            umd: None,
        }
    }
}

/// A package of `package-lock.json`.
pub struct Package {
    /// Relative to the project's folder.
    pub folder: String,
    pub version: String,
}

/// Copies the page's libraries and ImageNet's class names to `pkg/npm`. Returns all packages that the page uses.
pub fn libraries(root: &Path) -> CliResult<Vec<Package>> {
    let packages = install(root)?;
    let out = root.join("pkg/npm");
    for Library { file, name, umd } in LIBRARIES {
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

/// Returns the folder of the default base in the npm package nsfwjs.
pub fn nsfwjs_folder(root: &Path) -> CliResult<PathBuf> {
    install(root)?;
    Ok(root.join("node_modules/nsfwjs/dist/models/inception_v3"))
}

/// Returns the names of ImageNet's 1,000 classes in the order of the classifier's outputs.
pub fn imagenet_classes(root: &Path) -> CliResult<Vec<String>> {
    install(root)?;
    let path = root.join("node_modules/@tensorflow-models/mobilenet/dist/imagenet_classes.js");
    let text = String::from_utf8(read(&path)?)?;
    // An object literal that maps numbers to strings, some of which are concatenations of two.
    let object = text
        .split_once("IMAGENET_CLASSES = {")
        .and_then(|(_, rest)| rest.split_once("};"));
    let (object, _) = object.ok_or_else(|| {
        format!(
            "{}: found no IMAGENET_CLASSES; install the npm packages again (`npm ci`)",
            path.display()
        )
    })?;
    let joined: String = object
        .split("' +")
        .map(|part| part.trim_start().strip_prefix('\'').unwrap_or(part))
        .collect();
    // JSON5 does not allow numbers as keys.
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

/// Runs `npm ci` unless all packages are installed in their locked versions.
fn install(root: &Path) -> CliResult<Vec<Package>> {
    let packages = locked(root)?;
    let is_installed = |package: &Package| {
        let manifest = read(&root.join(&package.folder).join("package.json")).ok();
        let manifest: Option<Value> =
            manifest.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        manifest.is_some_and(|manifest| manifest["version"] == package.version.as_str())
    };
    if !packages.iter().all(is_installed) {
        eprintln!("installing npm packages");
        let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
        let mut command = Command::new(npm);
        command
            .args(["ci", "--no-audit", "--no-fund"])
            .current_dir(root);
        // `npm ci` deletes node_modules, so keep development packages if they were installed.
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

/// Reads the locked packages without development dependencies.
fn locked(root: &Path) -> CliResult<Vec<Package>> {
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
