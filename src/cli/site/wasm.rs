//! The WebAssembly builds in `pkg/`, made by cargo and wasm-bindgen.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use inception_web::format::hex;
use sha2::{Digest, Sha256};
use wasm_bindgen_cli_support::Bindgen;

use crate::cli::{
    files::{read, write},
    process::run_checked,
    result::CliResult,
};

/// The Rust target of the builds.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// A WebAssembly build: a folder of `pkg/` and the cargo features that it is compiled with.
#[derive(Debug)]
pub struct Runtime {
    /// The folder's name.
    pub name: &'static str,
    features: &'static str,
    /// What the page uses it for.
    pub purpose: &'static str,
}

/// All builds, in the order in which they are made: the page answers with the first, which every browser can run.
pub const RUNTIMES: [Runtime; 4] = [
    Runtime {
        name: "cpu",
        features: "",
        purpose: "answers on the CPU",
    },
    Runtime {
        name: "webgpu",
        features: "webgpu",
        purpose: "answers on the GPU",
    },
    Runtime {
        name: "tools",
        features: "convert,train",
        purpose: "training, evaluation, comparison and weights of other libraries",
    },
    Runtime {
        name: "relaxed",
        features: "relaxed-simd",
        purpose: "faster answers on CPUs with fused multiply-add",
    },
];

impl Runtime {
    /// The wasm file.
    pub fn path(&self, root: &Path) -> PathBuf {
        root.join("pkg")
            .join(self.name)
            .join("inception_web_bg.wasm")
    }

    /// Whether the build exists and was made from the present sources with this cargo profile.
    pub fn is_current(&self, root: &Path, profile: &str) -> CliResult<bool> {
        let built = fs::read_to_string(self.stamp(root));
        Ok(self.path(root).exists()
            && built.is_ok_and(|hash| Some(hash) == self.hash(root, profile).ok()))
    }

    /// Compiles the wasm and generates its JavaScript.
    pub fn build(&self, root: &Path, profile: &str) -> CliResult {
        let hash = self.hash(root, profile)?;
        require_target()?;
        let home = |variable: &str| env::var(variable).unwrap_or_default();
        let cargo_home =
            env::var("CARGO_HOME").unwrap_or_else(|_| format!("{}/.cargo", home("HOME")));
        // Builds with other target features recompile all dependencies, so they have a folder of their own.
        let relaxed = self.features == "relaxed-simd";
        let (vectors, folder) = match relaxed {
            true => ("+simd128,+relaxed-simd", target(root).join("relaxed")),
            false => ("+simd128", target(root)),
        };
        // Without the remapping, panic messages would contain paths of the machine that built them.
        let flags = [
            format!("-Ctarget-feature={vectors}"),
            format!("--remap-path-prefix={cargo_home}=cargo"),
            format!("--remap-path-prefix={}=.", root.display()),
        ];
        let mut command = Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
        command
            .args(["build", "--locked", "--lib", "--target", TARGET])
            .args(["--no-default-features", "--features", self.features])
            .args(["--profile", profile])
            .arg("--target-dir")
            .arg(&folder)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .current_dir(root);
        run_checked(&mut command, "install Rust by rustup (https://rustup.rs)")?;

        let compiled = folder.join(TARGET).join(profile).join("inception_web.wasm");
        let out = root.join("pkg").join(self.name);
        Bindgen::new()
            .input_path(&compiled)
            .out_name("inception_web")
            .web(true)
            .and_then(|bindgen| {
                bindgen
                    .typescript(true)
                    .omit_default_module_path(false)
                    .generate(&out)
            })
            .map_err(|error| format!("{}: {error:#}", out.display()))?;
        write(&self.stamp(root), hash.as_bytes())
    }

    /// The file that records what the build was made from.
    fn stamp(&self, root: &Path) -> PathBuf {
        target(root).join(format!("{}.stamp", self.name))
    }

    /// SHA-256 of the sources and settings. Cargo cannot tell this: it keeps one build per name and profile, whatever its features, and
    /// would recompile at every start.
    fn hash(&self, root: &Path, profile: &str) -> CliResult<String> {
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
        hash.update(format!("{}\n{profile}\n", self.features));
        for file in files {
            hash.update(read(&file)?);
        }
        Ok(hex(&hash.finalize()))
    }
}

/// Installs the Rust target of the builds, if it is missing.
pub fn require_target() -> CliResult {
    let printed = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .output();
    let installed = printed
        .is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).exists());
    if installed {
        return Ok(());
    }
    eprintln!("installing the Rust target {TARGET}");
    run_checked(
        Command::new("rustup").args(["target", "add", TARGET]),
        "install Rust by rustup (https://rustup.rs)",
    )
}

/// The build folder of cargo.
pub fn target(root: &Path) -> PathBuf {
    env::var("CARGO_TARGET_DIR").map_or_else(|_| root.join("target"), PathBuf::from)
}
