//! Runs the command line as a process and checks its output, files and error messages.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use inception_web::head::{Head, latents::Latents};

/// Creates an empty folder for a test.
fn folder(test: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("the old folder is deleted");
    }
    fs::create_dir_all(&folder).expect("a new folder");
    folder
}

/// Returns the path of a file of the project.
fn project(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_inception-web"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the command line starts")
}

/// Runs a command that must succeed, and returns its standard output.
fn run_ok(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// Runs a command that must fail, and returns its standard error.
fn run_err(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    String::from_utf8(output.stderr).expect("text")
}

/// Reads a latents file.
fn read_table(file: &Path) -> Latents {
    let bytes = fs::read(file).expect("latents");
    let (table, _) = Latents::read(&bytes, None).expect("valid latents");
    table
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Copies `www/samples/SAMPLE.jpg` to the folder of a class.
fn copy_sample(sample: &str, folder: &Path, class: &str) {
    fs::create_dir_all(folder.join(class)).expect("a class folder");
    let name = format!("{sample}.jpg");
    fs::copy(
        project("www/samples").join(&name),
        folder.join(class).join(name),
    )
    .expect(sample);
}

#[test]
fn summary_prints_the_same_table_as_keras() {
    let summary = run_ok(&["summary"]);
    let fields = |line: &str| {
        line.split_whitespace()
            .map(String::from)
            .collect::<Vec<_>>()
    };
    for line in [
        "conv2d_1 (Conv2D) (None, 149, 149, 32) 864",
        "mixed10 (Concatenate) (None, 8, 8, 2048) 0",
        "Total params: 21,802,784 (83.17 MB)",
        "Trainable params: 0 (0.00 B)",
        "Non-trainable params: 21,802,784 (83.17 MB)",
    ] {
        assert!(
            summary
                .lines()
                .any(|printed| fields(printed) == fields(line)),
            "no line {line:?} in\n{summary}"
        );
    }
    for (network, parameters) in [
        ("mlp", "1,707,274"),
        ("cnn", "356,810"),
        ("transfer", "20,490"),
    ] {
        let summary = run_ok(&["summary", network]);
        let line = format!("Trainable params: {parameters} (");
        assert!(summary.contains(&line), "no {line:?} in\n{summary}");
    }
}

/// The entries of a section of `--help`: names, and texts without default and possible values.
///
/// clap indents names by 2 to 6 columns and continues texts in further columns.
fn help_entries(help: &str, section: &str) -> Vec<(String, String)> {
    let lines = help
        .lines()
        .skip_while(|line| *line != section)
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with(' '));
    let mut entries: Vec<(String, String)> = Vec::new();
    for line in lines {
        let text = line.trim_start();
        if (2..=6).contains(&(line.len() - text.len())) {
            // Two spaces separate the name from its text.
            let (name, text) = text.split_once("  ").unwrap_or((text, ""));
            entries.push((name.into(), text.trim_start().into()));
        } else if let Some((_, entry)) = entries.last_mut() {
            *entry = format!("{entry} {text}").trim().into();
        }
    }
    for (_, text) in &mut entries {
        while let (Some(start), true) = (text.rfind('['), text.ends_with(']')) {
            text.truncate(start);
            text.truncate(text.trim_end().len());
        }
    }
    entries
}

#[test]
fn help_describes_every_command_and_every_argument() {
    let commands = help_entries(&run_ok(&["--help"]), "Commands:");
    let names: Vec<_> = commands.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "serve", "build", "weights", "summary", "extract", "train", "evaluate", "compare",
            "predict", "export", "help"
        ]
    );
    for (command, description) in commands.iter().filter(|(name, _)| name != "help") {
        let help = run_ok(&[command, "--help"]);
        assert!(description.len() > 20, "{command}: {description:?}");
        assert!(!description.contains(". "), "{command}: {description:?}");
        let start = format!("{description}\n\nUsage: inception-web {command} ");
        assert!(help.starts_with(&start), "no {start:?} in\n{help}");

        let options = help_entries(&help, "Options:");
        let arguments = help_entries(&help, "Arguments:");
        assert!(options.len() > 1, "{help}");
        for (name, text) in options.iter().chain(&arguments) {
            assert!(text.len() > 8, "{command} {name}: {text:?} in\n{help}");
        }
        // The usage names the required arguments.
        let usage = help.lines().find(|line| line.starts_with("Usage: "));
        let usage = usage.expect("a usage line").split_whitespace();
        for name in usage.filter(|word| word.starts_with(['<', '-'])) {
            let listed = |(entry, _): &(String, String)| entry.contains(name);
            assert!(
                options.iter().chain(&arguments).any(listed),
                "{command}: {name} is not listed in\n{help}"
            );
        }
    }
}

#[test]
fn a_head_trained_on_class_folders_classifies_its_pictures() {
    let folder = folder("classes");
    for (sample, class) in [
        ("cat", "animals"),
        ("horse", "animals"),
        ("rocket", "machines"),
        ("airplane", "machines"),
    ] {
        copy_sample(sample, &folder.join("pictures"), class);
    }
    fs::write(
        folder.join("pictures/animals/damaged.jpg"),
        "this is not a picture",
    )
    .expect("a damaged picture");
    let (latents, head) = (
        folder.join("latents.safetensors"),
        folder.join("head.safetensors"),
    );

    let output = run(&[
        "extract",
        text(&folder.join("pictures")),
        "--out",
        text(&latents),
    ]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("skipped animals/damaged.jpg: picture: not a picture in a known format"),
        "{stderr}"
    );
    let table = read_table(&latents);
    assert_eq!(table.classes, ["animals", "machines"]);
    assert_eq!(
        table.names,
        [
            "animals/cat.jpg",
            "animals/horse.jpg",
            "machines/airplane.jpg",
            "machines/rocket.jpg"
        ]
    );
    assert_eq!(table.labels, [0, 0, 1, 1]);

    let trained = run_ok(&[
        "train",
        text(&latents),
        "--out",
        text(&head),
        "--test",
        text(&latents),
        "--validation",
        "0",
        "--seed",
        "1",
    ]);
    assert!(
        trained.contains("held-out accuracy 100.0 % on 4 pictures (95 % interval 51.0 to 100.0 %)"),
        "{trained}"
    );
    let evaluated = run_ok(&["evaluate", text(&latents), "--head", text(&head)]);
    assert!(
        evaluated
            .starts_with("accuracy 100.0 % on 4 pictures (95 % interval 51.0 to 100.0 %)\nclass "),
        "{evaluated}"
    );

    let json = run_ok(&[
        "predict",
        "--head",
        text(&head),
        "--json",
        "www/samples/cat.jpg",
        "www/samples/rocket.jpg",
    ]);
    let results: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(results[0]["predictions"][0]["label"], "animals");
    assert_eq!(results[1]["predictions"][0]["label"], "machines");
    let total: f64 = (0..2)
        .filter_map(|i| results[0]["predictions"][i]["probability"].as_f64())
        .sum();
    assert!((total - 1.0).abs() < 1e-5, "{json}");

    let stderr = run_err(&[
        "predict",
        "--head",
        text(&head),
        "www/samples/cat.jpg",
        "tests/pictures/empty.jpg",
    ]);
    assert!(
        stderr.contains("tests/pictures/empty.jpg: picture: the file is empty (0 bytes)"),
        "{stderr}"
    );
    assert!(
        stderr.contains("1 of 2 pictures could not be classified"),
        "{stderr}"
    );
}

#[test]
fn an_interrupted_extraction_is_resumed() {
    let folder = folder("resume");
    copy_sample("cat", &folder.join("pictures"), "one");
    copy_sample("boats", &folder.join("pictures"), "two");
    let out = folder.join("latents.safetensors");
    run_ok(&[
        "extract",
        text(&folder.join("pictures")),
        "--out",
        text(&out),
    ]);
    // The checkpoint of a run that was interrupted after one picture. A changed latent shows whether the picture is computed again.
    let mut table = read_table(&out);
    let complete = table.clone();
    table.names.truncate(1);
    table.labels.truncate(1);
    table.values.truncate(2048);
    table.values[0] = 123.0;
    fs::remove_file(&out).expect("the latents are deleted");
    let partial = folder.join("latents.safetensors.partial");
    fs::write(&partial, table.write(inception_web::weights::Dtype::F32)).expect("a checkpoint");

    run_ok(&[
        "extract",
        text(&folder.join("pictures")),
        "--out",
        text(&out),
    ]);
    let resumed = read_table(&out);
    assert_eq!(resumed.values[0], 123.0);
    assert_eq!(resumed.values[1..], complete.values[1..]);
    assert!(!partial.exists());
}

#[test]
fn shards_contain_every_picture_once_and_can_be_trained_on_together() {
    let folder = folder("shards");
    let pictures = folder.join("pictures");
    for (sample, class) in [
        ("cat", "animals"),
        ("horse", "animals"),
        ("rocket", "machines"),
    ] {
        copy_sample(sample, &pictures, class);
    }
    let unsharded = folder.join("unsharded.safetensors");
    run_ok(&["extract", text(&pictures), "--out", text(&unsharded)]);
    let shards = ["1/2", "2/2"].map(|shard| {
        let out = folder.join(format!("{}.safetensors", &shard[..1]));
        run_ok(&[
            "extract",
            text(&pictures),
            "--shard",
            shard,
            "--out",
            text(&out),
        ]);
        out
    });

    let [first, second] = shards.each_ref().map(|file| read_table(file));
    assert_eq!(first.names, ["animals/cat.jpg", "machines/rocket.jpg"]);
    assert_eq!(second.names, ["animals/horse.jpg"]);
    // Each shard lists all classes, so that labels have the same meaning in all of them.
    assert_eq!(first.classes, second.classes);
    let unsharded = read_table(&unsharded);
    assert_eq!(
        [first.row(0), second.row(0), first.row(1)].concat(),
        unsharded.values
    );
    let head = folder.join("head.safetensors");
    let [first, second] = shards.each_ref().map(|file| text(file));
    let trained = run_ok(&[
        "train",
        first,
        second,
        "--out",
        text(&head),
        "--validation",
        "0",
    ]);
    assert!(
        trained.contains("trained on 3 pictures in 2 classes"),
        "{trained}"
    );

    for (shard, message) in [
        ("3/2", "expected I/N, such as 2/8, with I from 1 to N"),
        ("9/9", "shard 9/9 has no pictures; use fewer shards"),
    ] {
        let stderr = run_err(&["extract", text(&pictures), "--shard", shard]);
        assert!(stderr.contains(message), "{stderr}");
    }
}

#[test]
fn cifar_records_are_read_and_checked() {
    let folder = folder("cifar");
    let record =
        |label: u8| [vec![label], vec![200; 1024], vec![30; 1024], vec![90; 1024]].concat();
    let file = folder.join("data_batch_1.bin");
    let out = folder.join("latents.safetensors");
    fs::write(&file, [record(3), record(9)].concat()).expect("a .bin file");
    run_ok(&[
        "extract",
        text(&file),
        "--out",
        text(&out),
        "--dtype",
        "f16",
    ]);
    let table = read_table(&out);
    assert_eq!(
        (
            table.labels.as_slice(),
            table.classes[3].as_str(),
            table.classes.len()
        ),
        (&[3, 9][..], "cat", 10)
    );
    assert_eq!(table.names, ["data_batch_1.bin#0", "data_batch_1.bin#1"]);
    // The records differ in their label only.
    assert_eq!(table.row(0), table.row(1));

    let cases = [
        (
            record(3)[..3000].to_vec(),
            "got 3000 bytes, expected CIFAR-10 records of 3073 bytes; download the file again",
        ),
        (
            record(10),
            "record 0 has label 10, but there are 10 classes; download the file again",
        ),
    ];
    for (bytes, message) in cases {
        fs::write(&file, bytes).expect("a .bin file");
        let stderr = run_err(&["extract", text(&file), "--out", text(&out)]);
        assert_eq!(
            stderr.trim_end(),
            format!("error: {}: {message}", file.display())
        );
    }
}

#[test]
fn the_python_version_of_cifar_10_is_read_too() {
    let folder = folder("cifar_python");
    let fixtures = project("tests/cifar10");
    let out = folder.join("latents.safetensors");
    let tarball = folder.join("cifar-10-python.tar.gz");
    fs::copy(fixtures.join("python2.tar.gz"), &tarball).expect("a tarball");
    let pickles = folder.join("cifar-10-batches-py");
    fs::create_dir(&pickles).expect("a folder");
    for (from, to) in [
        ("python2.pkl", "data_batch_1"),
        ("python2_meta.pkl", "batches.meta"),
    ] {
        fs::copy(fixtures.join(from), pickles.join(to)).expect(to);
    }
    for input in [&tarball, &pickles, &folder] {
        run_ok(&["extract", text(input), "--out", text(&out)]);
        let table = read_table(&out);
        assert_eq!(table.names, ["tabby_s_000001.png", "lorry_s_000002.png"]);
        assert_eq!(
            (table.labels.as_slice(), table.classes.len()),
            (&[3, 9][..], 10)
        );
    }
}

#[test]
fn the_shipped_head_and_latents_belong_to_the_default_base() {
    let file = "www/ten-classes/head.safetensors";
    let head = Head::open(&fs::read(project(file)).expect("the head")).expect("a valid head");
    let scores = head.scores.expect("a measured accuracy");
    assert_eq!((scores.correct, scores.total), (490, 1000));
    assert_eq!(head.base.name, "nsfwjs Inception V3");
    let table = read_table(&project("www/ten-classes/latents.safetensors"));
    assert_eq!((table.len(), &table.classes), (5000, &head.classes));
    assert_eq!(table.base, head.base);

    // Fails if the head is of another base than the default one.
    let json = run_ok(&[
        "predict",
        "--head",
        file,
        "--json",
        "--top",
        "10",
        "www/samples/cat.jpg",
    ]);
    let results: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let predictions = results[0]["predictions"].as_array().expect("predictions");
    let mut labels: Vec<_> = predictions.iter().map(|p| p["label"].as_str()).collect();
    labels.sort_unstable();
    let classes: Vec<_> = head.classes.iter().map(|class| Some(&**class)).collect();
    assert_eq!(labels, classes);
}

#[test]
fn latents_and_heads_are_exported_in_other_formats() {
    let folder = folder("exports");
    let latents = "www/ten-classes/latents.safetensors";
    let npz = folder.join("latents.npz");
    let printed = run_ok(&["export", latents, "--to", text(&npz)]);
    let want = "latents of 5000 pictures in 10 classes, ";
    assert!(printed.contains(want), "{printed}");
    assert_eq!(read_table(&npz), read_table(&project(latents)));

    let file = "www/ten-classes/head.safetensors";
    let head = Head::open(&fs::read(project(file)).expect("the head")).expect("a valid head");
    let copy = folder.join("head.safetensors");
    run_ok(&["export", file, "--to", text(&copy)]);
    let copied = Head::open(&fs::read(&copy).expect("a head")).expect("a valid head");
    assert_eq!(copied, head);

    // tests/exports.js runs the exported models; here, the protobuf header and the uncompressed weights are checked.
    let [onnx, npz] = ["onnx", "npz"].map(|extension| {
        let out = folder.join("head").with_extension(extension);
        run_ok(&["export", file, "--to", text(&out)]);
        fs::read(&out).expect("an exported head")
    });
    // Field 1 of the message: IR version 8.
    assert_eq!(onnx[..2], [8, 8]);
    assert_eq!(npz[..4], *b"PK\x03\x04");
    let kernel = &head.layers[0].kernel;
    let kernel: Vec<_> = kernel
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let has_kernel = |bytes: &[u8]| bytes.windows(kernel.len()).any(|window| window == kernel);
    assert!(has_kernel(&onnx), "the kernel is not in the ONNX file");
    assert!(has_kernel(&npz), "the kernel is not in the npz file");
}

#[test]
fn invalid_files_have_error_messages() {
    let cases = [
        (
            vec!["weights", "--inspect", "Cargo.toml"],
            "error: Cargo.toml: weights: invalid safetensors file (",
        ),
        (vec!["weights", "--inspect", "nowhere"], "error: nowhere: "),
        (
            vec!["extract", "nowhere"],
            "error: nowhere: no such file or folder",
        ),
        (
            vec![
                "predict",
                "--head",
                "www/ten-classes/latents.safetensors",
                "www/samples/cat.jpg",
            ],
            "error: www/ten-classes/latents.safetensors: head: the metadata has no \"layers\"; this is not a head file",
        ),
        (
            vec!["train", "www/ten-classes/head.safetensors"],
            "error: www/ten-classes/head.safetensors: latents: latents is missing; write the file again",
        ),
        (
            vec![
                "export",
                "www/ten-classes/head.safetensors",
                "--to",
                "head.h5",
            ],
            "error: head.h5: unknown output format; use the extension .npz, .onnx or .safetensors",
        ),
        (
            vec!["export", "Cargo.toml", "--to", "head.npz"],
            "error: Cargo.toml: latents: invalid safetensors file (",
        ),
        (
            vec![
                "export",
                "www/ten-classes/latents.safetensors",
                "--to",
                "head.onnx",
            ],
            "error: www/ten-classes/latents.safetensors: latents cannot be exported as ONNX; use .npz or .safetensors",
        ),
    ];
    for (arguments, message) in cases {
        let stderr = run_err(&arguments);
        assert!(
            stderr.starts_with(message),
            "{arguments:?} printed {stderr:?}"
        );
    }
}

/// Makes a CIFAR-10 file with `count` noisy pictures per label. The label is the bright colour channel. `seed` shifts the noise.
fn colours(labels: &[u8], count: usize, seed: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for i in 0..count * labels.len() {
        let label = labels[i % labels.len()];
        let value = |index: usize| {
            let noise = ((index * 31 + (i + seed) * 17) * 7919 % 90) as u8;
            noise
                + if index / 1024 == usize::from(label) {
                    120
                } else {
                    0
                }
        };
        bytes.push(label);
        bytes.extend((0..3072).map(value));
    }
    bytes
}

#[test]
fn compare_prints_the_same_table_for_the_same_seed() {
    let folder = folder("compare");
    fs::write(folder.join("data_batch_1.bin"), colours(&[0, 1, 2], 6, 0)).expect("a batch");
    fs::write(folder.join("test_batch.bin"), colours(&[0, 1, 2], 2, 900)).expect("a batch");
    fs::write(folder.join("batches.meta.txt"), "red\ngreen\nblue\n").expect("names");
    let compare = |more: &[&str]| -> serde_json::Value {
        let args = [
            &["compare", text(&folder), "--per-class", "5", "--json"],
            more,
        ]
        .concat();
        serde_json::from_str(&run_ok(&args)).expect("JSON")
    };
    let mut tables = [compare(&["--seed", "3"]), compare(&["--seed", "3"])];
    for table in &mut tables {
        assert_eq!(table["seed"], 3);
        assert_eq!(table["split"]["training"], 15);
        assert_eq!(table["split"]["testRows"].as_array().map(Vec::len), Some(6));
        assert_eq!(table["data"]["sha256"].as_str().map(str::len), Some(64));
        let models = table["models"].as_array_mut().expect("models");
        let names: Vec<_> = models.iter().map(|model| model["name"].clone()).collect();
        assert_eq!(names, ["MLP", "CNN", "Inception transfer"]);
        for model in models {
            assert_eq!(model["test"]["correct"], 6, "{}", model["name"]);
            let model = model.as_object_mut().expect("a row");
            for time in ["trainSeconds", "predictMilliseconds", "extraction"] {
                assert!(model.remove(time).is_some(), "{time}");
            }
        }
    }
    assert_eq!(tables[0], tables[1]);

    let short = ["--models", "mlp", "--epochs", "2"];
    let printed = run_ok(&[&["compare", text(&folder)], short.as_slice()].concat());
    assert!(printed.contains("1,705,475"), "{printed}");
    let curve = [
        &["compare", text(&folder), "--curve", "2,4", "--seeds", "2"],
        short.as_slice(),
    ]
    .concat();
    let printed = run_ok(&curve);
    assert!(printed.contains("mean of 2 seeds"), "{printed}");
    let row = printed.lines().find(|line| line.starts_with("MLP "));
    assert_eq!(
        row.map(|row| row.matches(" %").count()),
        Some(2),
        "{printed}"
    );
}

#[test]
fn compare_rejects_invalid_picture_sets() {
    let folder = folder("compare-invalid");
    let compare = |name: &str, bytes: Vec<u8>| {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).expect(name);
        fs::write(folder.join("data_batch_1.bin"), bytes).expect(name);
        let output = run(&["compare", text(&folder), "--models", "mlp"]);
        assert!(!output.status.success(), "{name}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let truncated = colours(&[0, 1], 3, 0)[..4000].to_vec();
    let cases = [
        (
            "truncated",
            truncated,
            "got 4000 bytes, expected CIFAR-10 records of 3073 bytes; download the file again",
        ),
        (
            "label",
            colours(&[0, 12], 1, 0),
            "record 1 has label 12, but there are 10 classes; download the file again",
        ),
        (
            "empty",
            colours(&[0, 1], 3, 0),
            "the class \"bird\" has no pictures; add some, or delete the class",
        ),
        (
            "one",
            colours(&[4], 3, 0),
            "classes with pictures: got 1, expected at least 2",
        ),
    ];
    for (name, bytes, want) in cases {
        let got = compare(name, bytes);
        assert!(got.contains(want) && !got.contains("panicked"), "{got}");
    }
}
