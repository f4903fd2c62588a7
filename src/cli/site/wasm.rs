//! The WebAssembly builds in `pkg/`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use inception_web::format::hex;
use sha2::{Digest, Sha256};
use wasm_bindgen_cli_support::Bindgen;

use crate::cli::files::{Outcome, read, run_checked, write};

pub const TARGET: &str = "wasm32-unknown-unknown";
/// A folder of `pkg/`, and the features of its build: the page loads the one that its device needs, and `tools` when somebody trains,
/// evaluates, compares or converts.
pub const RUNTIMES: [(&str, &str); 4] = [
    ("cpu", ""),
    ("relaxed", "relaxed-simd"),
    ("webgpu", "webgpu"),
    ("tools", "convert,train"),
];
/// Builds one wasm and its JavaScript into `pkg/NAME`; returns the wasm's path.
pub fn runtime(root: &Path, name: &str, features: &str, profile: &str) -> Outcome<PathBuf> {
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
    run_checked(&mut command, "install Rust by rustup (https://rustup.rs)")?;

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
pub fn require_target() -> Outcome {
    let printed = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .output();
    let there = printed
        .is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).exists());
    if there {
        return Ok(());
    }
    eprintln!("installing the Rust target {TARGET}");
    run_checked(
        Command::new("rustup").args(["target", "add", TARGET]),
        "install Rust by rustup (https://rustup.rs)",
    )
}

/// Where cargo builds.
pub fn target(root: &Path) -> PathBuf {
    env::var("CARGO_TARGET_DIR").map_or_else(|_| root.join("target"), PathBuf::from)
}
