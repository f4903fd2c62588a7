//! Everything the page is made of: npm packages, the two wasm builds in `pkg/`, the default base; `build` copies it to a folder.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use brotli::{BrotliCompress, enc::BrotliEncoderParams};
use inception_web::{
    head::Head,
    train::Settings,
    weights::{Dtype, Weights, hex},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wasm_bindgen_cli_support::Bindgen;

use super::{Outcome, at, entries, fetch, file_name, licences, read, weights, write};

const TARGET: &str = "wasm32-unknown-unknown";
/// A folder of `pkg/`, and the features of its build: the page loads the one that its device needs, and `tools` when somebody trains,
/// evaluates, compares or converts.
const RUNTIMES: [(&str, &str); 4] = [
    ("cpu", ""),
    ("relaxed", "relaxed-simd"),
    ("webgpu", "webgpu"),
    ("tools", "convert,train"),
];
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
/// What of others is in the page, and its licences.
const THIRD_PARTY: &str = "pkg/THIRD_PARTY.txt";
/// The ten-class head, from `pkg/`; it belongs to the npm base alone.
const HEAD: &str = "../ten-classes/head.safetensors";

#[derive(clap::Args)]
pub struct Args {
    /// The folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The base: `npm` (the package nsfwjs), `imagenet` (the Hugging Face hub, or the address in INCEPTION_WEB_IMAGENET_URL), an address,
    /// or a weights file of any kind; `auto` takes imagenet's, or npm's where that cannot be had
    #[arg(long, value_name = weights::PLACES, default_value = "auto")]
    weights: String,
    /// The cargo profile of the wasm builds: `web`, or `web-dev`, which builds faster and runs slower
    #[arg(long, default_value = "web")]
    profile: String,
}

pub fn run(args: Args) -> Outcome {
    let root = root()?;
    let site = prepare(&root, &args.weights, &args.profile)?;
    copy(&root.join("www"), &args.out)?;
    for (name, _) in RUNTIMES {
        copy(
            &root.join("pkg").join(name),
            &args.out.join("pkg").join(name),
        )?;
    }
    copy(&root.join("pkg/npm"), &args.out.join("npm"))?;
    fs::copy(root.join(THIRD_PARTY), args.out.join(THIRD_PARTY))?;
    for ending in ["", ".br"] {
        let file = |path: &Path| PathBuf::from(format!("{}{ending}", path.display()));
        if file(&site.base).exists() {
            fs::copy(
                file(&site.base),
                file(&args.out.join("pkg/base.safetensors")),
            )?;
        }
    }
    write(
        &args.out.join("pkg/site.json"),
        listed(&root, &site.manifest)?.to_string().as_bytes(),
    )?;
    println!(
        "{}: a static site; any web server can serve it, from any path",
        args.out.display()
    );
    Ok(())
}

/// What the page asks for at its start.
pub struct Site {
    /// `pkg/site.json`: where the base, the head and the two builds are, their lengths and hashes.
    pub manifest: Value,
    /// The base's file.
    pub base: PathBuf,
}

/// Builds what is missing or old.
pub fn prepare(root: &Path, weights: &str, profile: &str) -> Outcome<Site> {
    let base = weights::find(weights)?;
    let bytes = read(&base)?;
    let opened = at(&base, Weights::open(&bytes))?;
    if base.starts_with(root.join("pkg")) || base.starts_with(fetch::cache()?) {
        pack(&base)?;
    }
    libraries(root)?;
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
    let head_fits = at(&head, Head::open(&read(&head)?))?.stamp.fingerprint == opened.fingerprint;
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
    // Numbers have nothing that a longer search would find, and at 9 come out larger. Elsewhere 11 takes three times as long as 9 for an eighth less.
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

/// The project's folder: this one, or the nearest above it.
pub fn root() -> Outcome<PathBuf> {
    let here = env::current_dir()?;
    let project = |folder: &&Path| {
        folder.join("www/index.html").exists() && folder.join("Cargo.toml").exists()
    };
    let found = here.ancestors().find(project).map(Path::to_path_buf);
    found.ok_or_else(|| {
        "not inside the project: run this in the folder with inception-web's Cargo.toml and www"
            .into()
    })
}

/// The default base as a file of ours, converted from the npm package at the first time.
pub fn default_base(root: &Path) -> Outcome<PathBuf> {
    let path = root.join("pkg/base.safetensors");
    let good = fs::read(&path).is_ok_and(|bytes| Weights::open(&bytes).is_ok());
    if !good {
        eprintln!(
            "converting the base out of npm nsfwjs to {}",
            path.display()
        );
        write(&path, &weights::default_base(root, Dtype::U8)?)?;
    }
    Ok(path)
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
    // Numbers are no names in JSON5.
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
fn libraries(root: &Path) -> Outcome {
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
        renew(&out.join(name), &text)?;
    }
    let classes = serde_json::to_string(&imagenet_classes(root)?)?;
    renew(&out.join("imagenet.json"), &classes)?;
    third_party(root, &packages)
}

/// Lists what of others is in the page, where the locks say that it may be something else than at the last time.
fn third_party(root: &Path, packages: &[Package]) -> Outcome {
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
    let mut parts = licences::crates(root, TARGET)?;
    for Package { folder, version } in packages {
        let name = folder.rsplit("node_modules/").next().unwrap_or(folder);
        parts.push(licences::package(name, version, root.join(folder))?);
    }
    parts.sort();
    parts.dedup_by(|a, b| a.name == b.name);
    renew(&list, &licences::listing(&parts)?)?;
    write(&stamp, locks.as_bytes())
}

/// Where cargo builds.
fn target(root: &Path) -> PathBuf {
    env::var("CARGO_TARGET_DIR").map_or_else(|_| root.join("target"), PathBuf::from)
}

/// Writes a file unless it is so already: a server that runs may be reading it.
fn renew(path: &Path, text: &str) -> Outcome {
    match fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        true => Ok(()),
        false => write(path, text.as_bytes()),
    }
}

/// A package of `package-lock.json`.
struct Package {
    /// From the project's folder.
    folder: String,
    version: String,
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
        succeed(
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

/// Builds one wasm and its JavaScript into `pkg/NAME`; returns the wasm's path.
fn runtime(root: &Path, name: &str, features: &str, profile: &str) -> Outcome<PathBuf> {
    let target = target(root);
    let out = root.join("pkg").join(name);
    let wasm = out.join("inception_web_bg.wasm");
    let stamp = target.join(format!("{name}.stamp"));
    let sources = sources(root, &[features, profile])?;
    if wasm.exists() && fs::read_to_string(&stamp).is_ok_and(|built| built == sources) {
        return Ok(wasm);
    }
    require_target()?;
    eprintln!("building pkg/{name} (minutes at the first time, then seconds)");
    let home = |variable: &str| env::var(variable).unwrap_or_default();
    let cargo_home = env::var("CARGO_HOME").unwrap_or_else(|_| format!("{}/.cargo", home("HOME")));
    // Vector instructions, and no paths of the building machine in panic messages.
    let relaxed = features == "relaxed-simd";
    let vectors = if relaxed {
        "+simd128,+relaxed-simd"
    } else {
        "+simd128"
    };
    // Builds with other flags would make each other's parts anew.
    let place = if relaxed {
        target.join("relaxed")
    } else {
        target
    };
    let flags = [
        format!("-Ctarget-feature={vectors}"),
        format!("--remap-path-prefix={cargo_home}=cargo"),
        format!("--remap-path-prefix={}=.", root.display()),
    ];
    let mut command = Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command
        .args([
            "build",
            "--locked",
            "--lib",
            "--target",
            TARGET,
            "--no-default-features",
        ])
        .args(["--features", features, "--profile", profile])
        .arg("--target-dir")
        .arg(&place)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .current_dir(root);
    succeed(&mut command, "install Rust by rustup (https://rustup.rs)")?;

    let built = place.join(TARGET).join(profile).join("inception_web.wasm");
    Bindgen::new()
        .input_path(&built)
        .out_name("inception_web")
        .web(true)
        .and_then(|bindgen| {
            bindgen
                .typescript(true)
                .omit_default_module_path(false)
                .generate(&out)
        })
        .map_err(|error| format!("pkg/{name}: {error:#}"))?;
    write(&stamp, sources.as_bytes())?;
    Ok(wasm)
}

/// SHA-256 of what a wasm build is made of. Cargo itself cannot tell that two builds of one name, each with features of its own,
/// are both fresh, and would make them again at every start.
fn sources(root: &Path, settings: &[&str]) -> Outcome<String> {
    let mut files = vec![root.join("Cargo.toml"), root.join("Cargo.lock")];
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true if path.ends_with("cli") => {}
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    let mut hash = Sha256::new();
    for setting in settings {
        hash.update(format!("{setting}\n"));
    }
    for file in files {
        hash.update(read(&file)?);
    }
    Ok(hex(&hash.finalize()))
}

/// Sees to it that the Rust toolchain can build for wasm.
fn require_target() -> Outcome {
    let printed = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .output();
    let there = printed
        .is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).exists());
    if there {
        return Ok(());
    }
    eprintln!("installing the Rust target {TARGET}");
    succeed(
        Command::new("rustup").args(["target", "add", TARGET]),
        "install Rust by rustup (https://rustup.rs)",
    )
}

/// Runs a tool; its own output is the explanation if it fails.
fn succeed(command: &mut Command, hint: &str) -> Outcome {
    let tool = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{tool} failed ({status}); see its message above").into()),
        Err(error) => Err(format!("{tool} could not be started ({error}); {hint}").into()),
    }
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> Outcome {
    fs::create_dir_all(to).map_err(|error| format!("{}: {error}", to.display()))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(
                fs::copy(entry.path(), &target)
                    .map_err(|error| format!("{}: {error}", target.display()))?,
            ),
        }
    }
    Ok(())
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
