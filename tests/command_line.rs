//! The command line as a person uses it: extract, train, predict, and what it says when something is wrong.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use inception_web::head::latents::Latents;

/// A fresh folder for one test.
fn folder(test: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("an old folder goes");
    }
    fs::create_dir_all(&folder).expect("a new folder comes");
    folder
}

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

/// What a run that must succeed printed.
fn works(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// What a run that must fail said.
fn fails(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(!output.status.success(), "{arguments:?} should have failed");
    String::from_utf8(output.stderr).expect("text")
}

/// The table in a file.
fn table(file: &Path) -> Latents {
    let bytes = fs::read(file).expect("latents");
    let (table, _) = Latents::read(&bytes, None).expect("our own file");
    table
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// `samples/NAME.jpg` into `folder/class/`.
fn put(sample: &str, folder: &Path, class: &str) {
    fs::create_dir_all(folder.join(class)).expect("a class folder");
    let name = format!("{sample}.jpg");
    fs::copy(
        project("www/samples").join(&name),
        folder.join(class).join(name),
    )
    .expect(sample);
}

#[test]
fn summary_is_keras_own() {
    let summary = works(&["summary"]);
    let words = |line: &str| {
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
            summary.lines().any(|printed| words(printed) == words(line)),
            "no line {line:?} in\n{summary}"
        );
    }
    for (network, parameters) in [
        ("mlp", "1,707,274"),
        ("cnn", "356,810"),
        ("transfer", "20,490"),
    ] {
        let summary = works(&["summary", network]);
        let line = format!("Trainable params: {parameters} (");
        assert!(summary.contains(&line), "no {line:?} in\n{summary}");
    }
}

#[test]
fn help_of_every_command_says_what_it_does() {
    for command in [
        "serve", "build", "weights", "summary", "extract", "train", "evaluate", "compare",
        "predict", "export",
    ] {
        let help = works(&[command, "--help"]);
        assert!(help.contains("Usage: inception-web"), "{help}");
    }
}

#[test]
fn a_folder_per_class_becomes_a_head_that_knows_its_pictures() {
    let folder = folder("classes");
    for (sample, class) in [
        ("cat", "animals"),
        ("horse", "animals"),
        ("rocket", "machines"),
        ("airplane", "machines"),
    ] {
        put(sample, &folder.join("pictures"), class);
    }
    fs::write(
        folder.join("pictures/animals/broken.jpg"),
        "this is not a picture",
    )
    .expect("a broken picture");
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
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("left out: animals/broken.jpg: picture: not a picture in a known format"),
        "{said}"
    );
    let table = table(&latents);
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

    let trained = works(&[
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
        trained.contains("held-out accuracy 100.0 % of 4 pictures (95 % interval 51.0 to 100.0 %)"),
        "{trained}"
    );
    let judged = works(&["evaluate", text(&latents), "--head", text(&head)]);
    assert!(
        judged
            .starts_with("accuracy 100.0 % of 4 pictures (95 % interval 51.0 to 100.0 %)\nclass "),
        "{judged}"
    );

    let json = works(&[
        "predict",
        "--head",
        text(&head),
        "--json",
        "www/samples/cat.jpg",
        "www/samples/rocket.jpg",
    ]);
    let answers: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(answers[0]["predictions"][0]["label"], "animals");
    assert_eq!(answers[1]["predictions"][0]["label"], "machines");
    let total: f64 = (0..2)
        .filter_map(|i| answers[0]["predictions"][i]["probability"].as_f64())
        .sum();
    assert!((total - 1.0).abs() < 1e-5, "{json}");

    let broken = fails(&[
        "predict",
        "--head",
        text(&head),
        "www/samples/cat.jpg",
        "tests/pictures/empty.jpg",
    ]);
    assert!(
        broken.contains("tests/pictures/empty.jpg: picture: the file is empty (0 bytes)"),
        "{broken}"
    );
    assert!(
        broken.contains("1 of 2 pictures could not be classified"),
        "{broken}"
    );
}

#[test]
fn an_interrupted_extraction_goes_on_where_it_was() {
    let folder = folder("resume");
    put("cat", &folder.join("pictures"), "one");
    put("boats", &folder.join("pictures"), "two");
    let out = folder.join("latents.safetensors");
    works(&[
        "extract",
        text(&folder.join("pictures")),
        "--out",
        text(&out),
    ]);
    // What a run leaves that was ended after its first picture, its latents changed so that doing them again would show.
    let mut table = table(&out);
    let whole = table.clone();
    table.names.truncate(1);
    table.labels.truncate(1);
    table.values.truncate(2048);
    table.values[0] = 123.0;
    fs::remove_file(&out).expect("latents go");
    let partial = folder.join("latents.safetensors.partial");
    fs::write(&partial, table.write(inception_web::weights::Dtype::F32)).expect("a partial file");

    works(&[
        "extract",
        text(&folder.join("pictures")),
        "--out",
        text(&out),
    ]);
    let resumed = self::table(&out);
    assert_eq!(resumed.values[0], 123.0);
    assert_eq!(resumed.values[1..], whole.values[1..]);
    assert!(!partial.exists());
}

#[test]
fn shards_hold_every_picture_once_and_are_trained_on_together() {
    let folder = folder("shards");
    let pictures = folder.join("pictures");
    for (sample, class) in [
        ("cat", "animals"),
        ("horse", "animals"),
        ("rocket", "machines"),
    ] {
        put(sample, &pictures, class);
    }
    let whole = folder.join("whole.safetensors");
    works(&["extract", text(&pictures), "--out", text(&whole)]);
    let parts = ["1/2", "2/2"].map(|shard| {
        let out = folder.join(format!("{}.safetensors", &shard[..1]));
        works(&[
            "extract",
            text(&pictures),
            "--shard",
            shard,
            "--out",
            text(&out),
        ]);
        out
    });

    let [first, second] = parts.each_ref().map(|part| table(part));
    assert_eq!(first.names, ["animals/cat.jpg", "machines/rocket.jpg"]);
    assert_eq!(second.names, ["animals/horse.jpg"]);
    // A part knows all classes, so that labels mean the same in each.
    assert_eq!(first.classes, second.classes);
    let whole = table(&whole);
    assert_eq!(
        [first.row(0), second.row(0), first.row(1)].concat(),
        whole.values
    );
    let head = folder.join("head.safetensors");
    let [first, second] = parts.each_ref().map(|part| text(part));
    let trained = works(&[
        "train",
        first,
        second,
        "--out",
        text(&head),
        "--validation",
        "0",
    ]);
    assert!(trained.contains("3 pictures"), "{trained}");

    for (shard, message) in [
        ("3/2", "expected I/N, such as 2/8, with I from 1 to N"),
        ("9/9", "shard 9/9 has no pictures; use fewer shards"),
    ] {
        let said = fails(&["extract", text(&pictures), "--shard", shard]);
        assert!(said.contains(message), "{said}");
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
    works(&[
        "extract",
        text(&file),
        "--out",
        text(&out),
        "--dtype",
        "f16",
    ]);
    let table = table(&out);
    assert_eq!(
        (
            table.labels.as_slice(),
            table.classes[3].as_str(),
            table.classes.len()
        ),
        (&[3, 9][..], "cat", 10)
    );
    assert_eq!(table.names, ["data_batch_1.bin#0", "data_batch_1.bin#1"]);
    // The label decides nothing about the picture: both records show the same.
    assert_eq!(table.row(0), table.row(1));

    let cases = [
        (
            record(3)[..3000].to_vec(),
            "3000 bytes are not whole CIFAR-10 records of 3073; get the file again",
        ),
        (
            record(10),
            "record 0 has label 10, but there are 10 classes; get the file again",
        ),
    ];
    for (bytes, message) in cases {
        fs::write(&file, bytes).expect("a .bin file");
        let said = fails(&["extract", text(&file), "--out", text(&out)]);
        assert_eq!(
            said.trim_end(),
            format!("error: {}: {message}", file.display())
        );
    }
}

#[test]
fn cifar_10_is_extracted_from_its_python_version_too() {
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
        works(&["extract", text(input), "--out", text(&out)]);
        let table = table(&out);
        assert_eq!(table.names, ["tabby_s_000001.png", "lorry_s_000002.png"]);
        assert_eq!(
            (table.labels.as_slice(), table.classes.len()),
            (&[3, 9][..], 10)
        );
    }
}

#[test]
fn shipped_head_belongs_to_the_default_base_and_tells_its_accuracy() {
    let json = works(&[
        "predict",
        "--head",
        "www/ten-classes/head.safetensors",
        "--json",
        "--top",
        "10",
        "www/samples/cat.jpg",
    ]);
    let answers: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let labels = answers[0]["predictions"].as_array().expect("predictions");
    assert_eq!(labels.len(), 10);
    let table = table(&project("www/ten-classes/latents.safetensors"));
    assert_eq!((table.len(), table.classes.len()), (5000, 10));
}

#[test]
fn latents_and_heads_are_exported_in_other_forms() {
    let folder = folder("exports");
    let latents = "www/ten-classes/latents.safetensors";
    let npz = folder.join("latents.npz");
    let said = works(&["export", latents, "--to", text(&npz)]);
    let want = "latents of 5000 pictures in 10 classes, ";
    assert!(said.contains(want), "{said}");
    assert_eq!(table(&npz), table(&project(latents)));

    let head = "www/ten-classes/head.safetensors";
    let onnx = folder.join("head.onnx");
    works(&["export", head, "--to", text(&onnx)]);
    let bytes = fs::read(&onnx).expect("ONNX");
    // Field 1 of the message, a number: the version of the form.
    assert_eq!(bytes[..2], [8, 8]);
}

#[test]
fn wrong_files_get_a_sentence_each() {
    let cases = [
        (
            vec!["weights", "--inspect", "Cargo.toml"],
            "error: Cargo.toml: weights: not a whole safetensors file (",
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
            "error: www/ten-classes/latents.safetensors: head: the file's metadata has no \"layers\"; this is not a head file",
        ),
        (
            vec!["train", "www/ten-classes/head.safetensors"],
            "error: www/ten-classes/head.safetensors: latents: latents is missing; make the file again",
        ),
        (
            vec![
                "export",
                "www/ten-classes/head.safetensors",
                "--to",
                "head.h5",
            ],
            "error: head.h5: the extension decides the form; use .npz, .onnx or .safetensors",
        ),
        (
            vec!["export", "Cargo.toml", "--to", "head.npz"],
            "error: Cargo.toml: latents: not a whole safetensors file (",
        ),
        (
            vec![
                "export",
                "www/ten-classes/latents.safetensors",
                "--to",
                "head.onnx",
            ],
            "error: www/ten-classes/latents.safetensors: latents are a table, and ONNX takes a head; use .npz or .safetensors",
        ),
    ];
    for (arguments, message) in cases {
        let said = fails(&arguments);
        assert!(said.starts_with(message), "{arguments:?} said {said:?}");
    }
}

/// A CIFAR-10 file of plain colours with noise, a class for each label, so many pictures of each.
fn colours(labels: &[u8], count: usize, from: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for i in 0..count * labels.len() {
        let label = labels[i % labels.len()];
        let value = |at: usize| {
            let noise = ((at * 31 + (i + from) * 17) * 7919 % 90) as u8;
            noise
                + if at / 1024 == usize::from(label) {
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
fn three_ways_are_compared_on_the_same_pictures_and_the_table_is_the_same_again() {
    let folder = folder("three-ways");
    fs::write(folder.join("data_batch_1.bin"), colours(&[0, 1, 2], 6, 0)).expect("a batch");
    fs::write(folder.join("test_batch.bin"), colours(&[0, 1, 2], 2, 900)).expect("a batch");
    fs::write(folder.join("batches.meta.txt"), "red\ngreen\nblue\n").expect("names");
    let compared = |more: &[&str]| -> serde_json::Value {
        let args = [
            &["compare", text(&folder), "--per-class", "5", "--json"],
            more,
        ]
        .concat();
        serde_json::from_str(&works(&args)).expect("JSON")
    };
    let mut tables = [compared(&["--seed", "3"]), compared(&["--seed", "3"])];
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

    let few = ["--models", "mlp", "--epochs", "2"];
    let printed = works(&[&["compare", text(&folder)], few.as_slice()].concat());
    assert!(printed.contains("1,705,475"), "{printed}");
    let printed = works(
        &[
            &["compare", text(&folder), "--curve", "2,4", "--seeds", "2"],
            few.as_slice(),
        ]
        .concat(),
    );
    assert!(printed.contains("mean of 2 seeds"), "{printed}");
}

#[test]
fn pictures_that_cannot_be_compared_get_a_sentence() {
    let folder = folder("not-three-ways");
    let sentence = |name: &str, bytes: Vec<u8>| {
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
            "4000 bytes are not whole CIFAR-10 records of 3073; get the file again",
        ),
        (
            "label",
            colours(&[0, 12], 1, 0),
            "record 1 has label 12, but there are 10 classes; get the file again",
        ),
        (
            "empty",
            colours(&[0, 1], 3, 0),
            "the class \"bird\" has no pictures; add some, or delete the class",
        ),
        (
            "one",
            colours(&[4], 3, 0),
            "1 of the classes have pictures, at least two are needed",
        ),
    ];
    for (name, bytes, want) in cases {
        let got = sentence(name, bytes);
        assert!(got.contains(want) && !got.contains("panicked"), "{got}");
    }
}
