//! Malicious files, read through the public API: each is rejected with a message, in under a second and with little memory.
//!
//! These files are large or hand-made. Inputs found by `cargo fuzz` are in `tests/fuzz`.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::Write,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder},
};
use inception_web::{
    error::Error,
    head::{
        Head,
        latents::{BaseId, Latents},
    },
    image::{Pixels, cifar10},
    weights::{
        self, Weights,
        import::{self, File},
    },
};
use rawzip::{CompressionMethod, DataDescriptorOutput, ZipArchiveWriter, crc32};
use serde_json::json;

/// Counts allocated bytes.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: all calls are forwarded to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let allocated = ALLOCATED.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(allocated, Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Runs one test at a time, so that allocations of other tests are not counted.
static SERIAL: Mutex<()> = Mutex::new(());

/// Returns the error message. Asserts that it took less than a second and not much more memory than the size of the file.
fn rejected<T>(name: &str, bytes: usize, read: impl FnOnce() -> Result<T, Error>) -> String {
    let before = ALLOCATED.load(Relaxed);
    PEAK.store(before, Relaxed);
    let start = Instant::now();
    let error = read()
        .err()
        .unwrap_or_else(|| panic!("{name} was accepted"));
    let seconds = start.elapsed().as_secs_f64();
    let peak = (PEAK.load(Relaxed) - before) >> 20;
    println!("{name}: {seconds:.3} s, {peak} MB for a file of {bytes} bytes: {error}");
    assert!(seconds < 1.0, "{name}: {seconds} s");
    assert!(peak < 100 + (bytes >> 18), "{name}: {peak} MB");
    error.to_string()
}

/// Imports a file as a base; returns the error message.
fn rejected_base(name: &str, bytes: &[u8]) -> String {
    let files = [File { name, bytes }];
    rejected(name, bytes.len(), || import::import(&files, None))
}

fn container(header: serde_json::Value, data: usize) -> Vec<u8> {
    let header = header.to_string();
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &vec![0; data]].concat()
}

/// Creates a zip of entries: name, contents, whether to deflate.
fn zip(entries: &[(&str, &[u8], bool)]) -> Vec<u8> {
    let mut zip = ZipArchiveWriter::new(Vec::new());
    for (name, bytes, deflate) in entries {
        let (method, packed) = match deflate {
            false => (CompressionMethod::STORE, bytes.to_vec()),
            true => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(bytes).expect("memory");
                (
                    CompressionMethod::DEFLATE,
                    encoder.finish().expect("memory"),
                )
            }
        };
        let file = zip.new_file(name).compression_method(method);
        let (mut entry, _) = file.start().expect("memory");
        entry.write_all(&packed).expect("memory");
        let descriptor = DataDescriptorOutput::new(crc32(bytes), bytes.len() as u64);
        entry.finish(descriptor).expect("memory");
    }
    zip.finish().expect("memory")
}

/// Pickles a string.
fn text(text: &str) -> Vec<u8> {
    let length = (text.len() as u32).to_le_bytes();
    [b"X", &length[..], text.as_bytes()].concat()
}

/// Pickles a state_dict with many names of one tensor, which is created by a call with many arguments.
fn shared_tensor(names: usize, arguments: usize) -> Vec<u8> {
    let mut state = b"\x80\x02}(".to_vec();
    state.extend(text("first"));
    state.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    state.extend(text("storage"));
    state.extend(b"ctorch\nFloatStorage\n");
    state.extend([text("0"), text("cpu")].concat());
    state.extend(b"K\x06tQK\0K\x01\x85K\x01\x85\x89q\0");
    state.extend(b"h\0".repeat(arguments));
    state.extend(b"tRq\x01");
    for k in 0..names {
        state.extend(text(&format!("t{k}")));
        state.extend(b"h\x01");
    }
    state.extend(b"u.");
    state
}

/// Pickles a state_dict with many tensors of the same storage.
fn state_dict(tensors: usize) -> Vec<u8> {
    let mut state = b"\x80\x02}".to_vec();
    for k in 0..tensors {
        state.extend(text(&format!("t{k}")));
        state.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        state.extend(text("storage"));
        state.extend(b"ctorch\nFloatStorage\n");
        state.extend([text("0"), text("cpu")].concat());
        state.extend(b"K\x06tQK\0K\x01\x85K\x01\x85\x89}tRs");
    }
    state.push(b'.');
    state
}

#[test]
fn safetensors_with_invalid_ranges_are_rejected_by_all_readers() {
    let _serial = SERIAL.lock();
    let one = |begin: u64, end: u64, shape: &[u64]| json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, end]});
    let long = [&u64::from(u32::MAX).to_le_bytes()[..], b"{}"].concat();
    let beyond = [&1000u64.to_le_bytes()[..], b"{}"].concat();
    let cases = [
        ("huge header", long, "header too large"),
        (
            "header longer than the file",
            beyond,
            "invalid header length",
        ),
        (
            "overlap",
            container(json!({"a": one(0, 8, &[2]), "b": one(4, 12, &[2])}), 12),
            "invalid offset for tensor `b`",
        ),
        (
            "gap",
            container(json!({"a": one(0, 4, &[1]), "b": one(8, 12, &[1])}), 12),
            "invalid offset for tensor `b`",
        ),
        (
            "trailing bytes",
            container(json!({"a": one(0, 4, &[1])}), 8),
            "file not fully covered",
        ),
        (
            "missing data",
            container(json!({"a": one(0, 400, &[100])}), 8),
            "file not fully covered",
        ),
        (
            "negative length",
            container(json!({"a": one(4, 0, &[1])}), 4),
            "invalid offset for tensor `a`",
        ),
        (
            "overflowing shape",
            container(json!({"a": one(0, 4, &[1 << 40, 1 << 40])}), 4),
            "overflow",
        ),
        (
            "wrong shape",
            container(json!({"a": one(0, 4, &[7])}), 4),
            "invalid shape, data type, or offset for tensor",
        ),
    ];
    let none = BaseId {
        name: String::new(),
        fingerprint: String::new(),
    };
    for (name, bytes, reason) in cases {
        let (length, bytes) = (bytes.len(), bytes.as_slice());
        for (what, message) in [
            (
                "weights",
                rejected(name, length, || Weights::open(bytes).map(|_| ())),
            ),
            ("weights", rejected_base("timm.safetensors", bytes)),
            ("head", rejected(name, length, || Head::read(bytes, &none))),
            (
                "latents",
                rejected(name, length, || Latents::read(bytes, None)),
            ),
        ] {
            let prefix = format!("{what}: ");
            // The weights reader rejects the metadata before it has read the data.
            let has_reason = message.to_lowercase().contains(reason)
                || (reason == "file not fully covered" && message.contains("has no \"format\""));
            assert!(
                message.starts_with(&prefix) && has_reason,
                "{name}: {message}"
            );
        }
    }
}

#[test]
fn headers_that_are_slow_to_parse_are_rejected() {
    let _serial = SERIAL.lock();
    for (count, reason) in [
        (1_000_000, "header too large"),
        (200_000, "header lists too many tensors"),
    ] {
        let tensors = (0..count)
            .map(|k| format!(r#""t{k}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#));
        let header = format!("{{{}}}", tensors.collect::<Vec<_>>().join(","));
        let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
        let length = bytes.len();
        let want = format!(
            "weights: invalid safetensors file ({reason}, {length} bytes); download or convert it again"
        );
        assert_eq!(rejected_base("many.safetensors", &bytes), want);
        let message = rejected("many", length, || Latents::read(&bytes, None));
        assert_eq!(message, want.replace("weights", "latents"));
        // The native weights format has a lower limit.
        let message = rejected("many", length, || Weights::open(&bytes).map(|_| ()));
        assert_eq!(message, want.replace(reason, "header too large"));
    }
}

#[test]
fn invalid_metadata_values_are_rejected() {
    let _serial = SERIAL.lock();
    let cases = [
        (
            "input_range",
            "[-1e39,1]",
            "[black, white], each a number or a list of three numbers",
        ),
        ("known_latents", "[1e39]", "at least one number"),
        ("classes", "[]", "at least one name"),
    ];
    for (key, value, want) in cases {
        let mut metadata = json!({
            "format": "inception-web weights 1", "name": "", "source": "", "licence": "", "note": "", "input_range": "[0,1]",
            "resize": weights::RESIZE, "padding": weights::PADDING, "average_pool": "exclude_padding", "dtype": "u8",
            "fingerprint": "0".repeat(64), "known_latents": "[1]", "classes": "[\"a\"]",
        });
        metadata[key] = value.into();
        let bytes = container(json!({"__metadata__": metadata}), 0);
        assert_eq!(
            rejected(key, bytes.len(), || Weights::open(&bytes).map(|_| ())),
            format!(
                "weights: invalid metadata {key:?}: got {value:?}, expected {want}; write the file again"
            )
        );
    }
}

#[test]
fn decompression_bombs_are_not_unpacked() {
    let _serial = SERIAL.lock();
    let zeros = vec![0; 200 << 20];
    let state = state_dict(1);
    let cases = [
        (
            "a.keras",
            zip(&[("model.weights.h5", &zeros, true)]),
            "weights: cannot import a.keras (\"model.weights.h5\": suspicious compression ratio, ",
        ),
        (
            "pickle.pth",
            zip(&[("a/data.pkl", &zeros, true)]),
            "weights: cannot import pickle.pth (\"a/data.pkl\": got 209715200 bytes, expected at most 16777216); ",
        ),
        (
            "storage.pth",
            zip(&[("a/data.pkl", &state, false), ("a/data/0", &zeros, true)]),
            "weights: cannot import storage.pth (\"a/data/0\": suspicious compression ratio, ",
        ),
    ];
    for (name, bytes, want) in cases {
        let message = rejected_base(name, &bytes);
        assert!(message.starts_with(want), "{message}");
    }
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (25600, 2048), }";
    let length = (header.len() as u16).to_le_bytes();
    let header = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes()].concat();
    let array = [header.as_slice(), &zeros].concat();
    let bytes = zip(&[("latents.npy", &array, true)]);
    let message = rejected("npz", bytes.len(), || Latents::read(&bytes, None));
    let want = "latents: the array \"latents\" is damaged (suspicious compression ratio, ";
    assert!(message.starts_with(want), "{message}");

    // A tarball with a large member.
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = tar::Header::new_ustar();
    header.set_size(zeros.len() as u64);
    header.set_cksum();
    tar.append_data(&mut header, "data_batch_1.bin", zeros.as_slice())
        .expect("memory");
    let packed = tar.into_inner().and_then(GzEncoder::finish);
    let bytes = packed.expect("memory");
    let message = rejected("a.tar.gz", bytes.len(), || {
        cifar10::Files::new().add("a.tar.gz", &bytes)
    });
    let want = "a.tar.gz: invalid tarball (data_batch_1.bin: suspicious compression ratio, ";
    assert!(message.starts_with(want), "{message}");
}

#[test]
fn arrays_of_too_many_strings_are_rejected() {
    let _serial = SERIAL.lock();
    let npy = |descr: &str, shape: &str, data: &[u8]| {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        let length = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
    };
    let bytes = zip(&[
        ("latents.npy", &npy("<f2", "(1, 2048)", &[0; 4096]), false),
        ("labels.npy", &npy("|u1", "(1,)", &[0]), false),
        (
            "classes.npy",
            &npy("|S1", "(60000000,)", &vec![b'a'; 60_000_000]),
            true,
        ),
    ]);
    // Each string of one byte would need an allocation.
    let message = rejected("classes", bytes.len(), || Latents::read(&bytes, None));
    assert_eq!(
        message,
        "latents: the array \"classes\" (dtype |S1, shape [60000000]) is too large; split it into several files"
    );
}

/// Creates a JPEG with three components; `factors` are the sampling factors of the second. The data are zeros.
fn jpeg(factors: u8) -> Vec<u8> {
    let frame = [
        0xff, 0xc0, 0, 17, 8, 0, 40, 0, 24, 3, 1, 0x11, 0, 2, factors, 0, 3, 0x11, 0,
    ];
    let scan = [0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0];
    [&[0xff, 0xd8][..], &frame, &scan, &[0; 99], &[0xff, 0xd9]].concat()
}

#[test]
fn jpegs_that_crash_the_decoder_are_rejected() {
    let _serial = SERIAL.lock();
    for factors in [0x23, 0x21, 0x12, 0x00] {
        let bytes = jpeg(factors);
        assert_eq!(
            rejected("a.jpg", bytes.len(), || Pixels::decode(&bytes)),
            "picture: the file is damaged (unsupported chroma sampling factors); save or download it again"
        );
    }
    let without_frame = [0xff, 0xd8, 0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0];
    for bytes in [&without_frame[..], &jpeg(0x11)[..12]] {
        let bytes = [bytes, &[0xff, 0xd9]].concat();
        assert_eq!(
            rejected("a.jpg", bytes.len(), || Pixels::decode(&bytes)),
            "picture: the file is damaged (truncated header); save or download it again"
        );
    }
}

#[test]
fn repeated_references_do_not_multiply_time_or_memory() {
    let _serial = SERIAL.lock();
    // 20,000 tensors in one storage of 64 MB.
    let zeros = vec![0; 64 << 20];
    let bytes = zip(&[
        ("a/data.pkl", &state_dict(20_000), false),
        ("a/data/0", &zeros, false),
    ]);
    let message = rejected_base("views.pth", &bytes);
    let want = "weights: cannot import views.pth (got 20000 tensors such as t0, t1, t10, expected those of";
    assert!(message.starts_with(want), "{message}");

    // 100,000 names of a tensor that is created by a call with half a million arguments.
    let bytes = zip(&[
        ("a/data.pkl", &shared_tensor(100_000, 500_000), false),
        ("a/data/0", &zeros[..8], false),
    ]);
    let message = rejected_base("parts.pth", &bytes);
    let want = "weights: cannot import parts.pth (got 100001 tensors such as first, t0, t1, expected those of";
    assert!(message.starts_with(want), "{message}");

    // A tensor of 4 GB with stride 0, in a storage of one value.
    let mut bytes = state_dict(1);
    let shape = bytes.windows(3).rposition(|w| w == b"K\x01\x85");
    let shape = shape.expect("strides") - 3;
    bytes.splice(shape..shape + 6, *b"J\0\0\0\x40\x85K\0\x85");
    let bytes = zip(&[
        ("a/data.pkl", &bytes, false),
        ("a/data/0", &zeros[..8], false),
    ]);
    let message = rejected_base("one.pth", &bytes);
    let want = "weights: cannot import one.pth (t0: invalid shape [1073741824] with strides [0]); ";
    assert!(message.starts_with(want), "{message}");

    // A shard of 1 MB, listed 100,000 times.
    let paths = vec!["1.bin"; 100_000];
    let model = json!({"weightsManifest": [{"paths": paths, "weights": []}]}).to_string();
    let files = [
        File {
            name: "model.json",
            bytes: model.as_bytes(),
        },
        File {
            name: "1.bin",
            bytes: &zeros[..1 << 20],
        },
    ];
    assert_eq!(
        rejected("shards", model.len(), || import::import(&files, None)),
        "weights: cannot import 1.bin (shard listed twice); choose model.json and all of its shards together, or \
         convert the model again"
    );

    // Half a million references to a string of 1,000 characters.
    let mut names = b"\x80\x02}".to_vec();
    names.extend(
        [
            text("label_names"),
            b"](".to_vec(),
            text(&"a".repeat(1000)),
            b"q\x00".to_vec(),
        ]
        .concat(),
    );
    names.extend(b"h\x00".repeat(500_000));
    names.extend(b"es.");
    assert_eq!(
        rejected("names", names.len(), || cifar10::Files::new()
            .add("batches.meta", &names)),
        "batches.meta: invalid CIFAR-10 pickle (\"label_names\" is not a list of strings); download the file again"
    );
}

/// Encodes a length-delimited field of a protobuf message.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![tag << 3 | 2];
    let mut length = bytes.len();
    while length > 127 {
        field.push(length as u8 | 128);
        length >>= 7;
    }
    field.push(length as u8);
    [field, bytes.to_vec()].concat()
}

#[test]
fn onnx_tensors_are_rejected_by_shape_before_decoding() {
    let _serial = SERIAL.lock();
    // A chain of additions of a tensor with 4 million values, each in its own field.
    let numbers = [4 << 3 | 5, 0, 0, 0, 0].repeat(4 << 20);
    let large = [
        &[8, 128, 128, 128, 2, 16, 1],
        field(8, b"large").as_slice(),
        &numbers,
    ]
    .concat();
    let message = rejected_base("chain.onnx", &chain(b"large", &large));
    let want = "weights: cannot import chain.onnx (unexpected operator Add in the network); ";
    assert!(message.starts_with(want), "{message}");

    // The same chain of a tensor with one value and 4 million unknown fields.
    let unknown = [128, 1, 0].repeat(4 << 20);
    let number = [4 << 3 | 5, 0, 0, 128, 63];
    let small = [
        &[8, 1, 16, 1],
        field(8, b"small").as_slice(),
        &number,
        &unknown,
    ]
    .concat();
    let message = rejected_base("notes.onnx", &chain(b"small", &small));
    let want = "weights: cannot import notes.onnx (small: 12582928 bytes for shape [1]); ";
    assert!(message.starts_with(want), "{message}");
}

/// Creates a model of 900 consecutive additions of the same tensor.
fn chain(name: &[u8], tensor: &[u8]) -> Vec<u8> {
    let mut graph = field(5, tensor);
    for k in 0..900 {
        let [from, to] = [k, k + 1].map(|k| format!("v{k}"));
        let parts = [
            field(1, from.as_bytes()),
            field(1, name),
            field(2, to.as_bytes()),
            field(4, b"Add"),
        ];
        graph.extend(field(1, &parts.concat()));
    }
    let mean = [
        field(1, b"v900"),
        field(2, b"out"),
        field(4, b"GlobalAveragePool"),
    ]
    .concat();
    graph.extend(field(1, &mean));
    graph.extend([field(11, &field(1, b"v0")), field(12, &field(1, b"out"))].concat());
    [vec![8, 8], field(7, &graph)].concat()
}
