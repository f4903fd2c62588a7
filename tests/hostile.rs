//! Files made to do harm, through the public doors: each is refused by name, in under a second and in little memory.
//!
//! What `cargo fuzz` found lies beside each reader (`tests/fuzz`); here is what only a large file, or one made with intent, can do.

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

/// Counts what is allocated, and the most that it ever was.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(now, Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}

/// One at a time, so that no other is counted.
static ALONE: Mutex<()> = Mutex::new(());

/// The refusal, which took less than a second and not much more memory than the file has.
fn refused<T>(name: &str, bytes: usize, read: impl FnOnce() -> Result<T, Error>) -> String {
    let before = NOW.load(Relaxed);
    MOST.store(before, Relaxed);
    let start = Instant::now();
    let error = read().err().unwrap_or_else(|| panic!("{name} is taken"));
    let seconds = start.elapsed().as_secs_f64();
    let peak = (MOST.load(Relaxed) - before) >> 20;
    println!("{name}: {seconds:.3} s, {peak} MB beside the file's {bytes} bytes: {error}");
    assert!(seconds < 1.0, "{name}: {seconds} s");
    assert!(peak < 100 + (bytes >> 18), "{name}: {peak} MB");
    error.to_string()
}

fn base(name: &str, bytes: &[u8]) -> String {
    let files = [File { name, bytes }];
    refused(name, bytes.len(), || import::import(&files, None))
}

fn container(header: serde_json::Value, data: usize) -> Vec<u8> {
    let header = header.to_string();
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &vec![0; data]].concat()
}

/// A zip of entries, deflated if wished.
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
        let sum = DataDescriptorOutput::new(crc32(bytes), bytes.len() as u64);
        entry.finish(sum).expect("memory");
    }
    zip.finish().expect("memory")
}

/// A text as a pickle has it.
fn text(text: &str) -> Vec<u8> {
    let length = (text.len() as u32).to_le_bytes();
    [b"X", &length[..], text.as_bytes()].concat()
}

/// A state_dict of so many names of one tensor, in whose making so many parts are named.
fn shared(names: usize, parts: usize) -> Vec<u8> {
    let mut state = b"\x80\x02}(".to_vec();
    state.extend(text("first"));
    state.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    state.extend(text("storage"));
    state.extend(b"ctorch\nFloatStorage\n");
    state.extend([text("0"), text("cpu")].concat());
    state.extend(b"K\x06tQK\0K\x01\x85K\x01\x85\x89q\0");
    state.extend(b"h\0".repeat(parts));
    state.extend(b"tRq\x01");
    for k in 0..names {
        state.extend(text(&format!("t{k}")));
        state.extend(b"h\x01");
    }
    state.extend(b"u.");
    state
}

/// A state_dict of so many tensors, all of the same storage.
fn state(tensors: usize) -> Vec<u8> {
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
fn safetensors_that_lie_about_their_ranges_are_refused_by_every_reader() {
    let _alone = ALONE.lock();
    let one = |begin: u64, end: u64, shape: &[u64]| json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, end]});
    let long = [&u64::from(u32::MAX).to_le_bytes()[..], b"{}"].concat();
    let beyond = [&1000u64.to_le_bytes()[..], b"{}"].concat();
    let cases = [
        ("header without end", long, "header too large"),
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
            "hole",
            container(json!({"a": one(0, 4, &[1]), "b": one(8, 12, &[1])}), 12),
            "invalid offset for tensor `b`",
        ),
        (
            "bytes left over",
            container(json!({"a": one(0, 4, &[1])}), 8),
            "file not fully covered",
        ),
        (
            "data missing",
            container(json!({"a": one(0, 400, &[100])}), 8),
            "file not fully covered",
        ),
        (
            "backwards",
            container(json!({"a": one(4, 0, &[1])}), 4),
            "invalid offset for tensor `a`",
        ),
        (
            "shape beyond all memory",
            container(json!({"a": one(0, 4, &[1 << 40, 1 << 40])}), 4),
            "overflow",
        ),
        (
            "another shape",
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
        for (what, said) in [
            (
                "weights",
                refused(name, length, || Weights::open(bytes).map(|_| ())),
            ),
            ("weights", base("timm.safetensors", bytes)),
            ("head", refused(name, length, || Head::read(bytes, &none))),
            (
                "latents",
                refused(name, length, || Latents::read(bytes, None)),
            ),
        ] {
            let begin = format!("{what}: ");
            // A header of none of ours is refused before the data comes.
            let told = said.to_lowercase().contains(reason)
                || (reason == "file not fully covered" && said.contains("has no \"format\""));
            assert!(said.starts_with(&begin) && told, "{name}: {said}");
        }
    }
}

#[test]
fn a_header_that_takes_long_to_read_is_not_read() {
    let _alone = ALONE.lock();
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
        assert_eq!(base("many.safetensors", &bytes), want);
        let said = refused("many", length, || Latents::read(&bytes, None));
        assert_eq!(said, want.replace("weights", "latents"));
        // All of its own tensors are known beforehand.
        let said = refused("many", length, || Weights::open(&bytes).map(|_| ()));
        assert_eq!(said, want.replace(reason, "header too large"));
    }
}

#[test]
fn numbers_that_are_none_are_refused_in_headers_too() {
    let _alone = ALONE.lock();
    let cases = [
        (
            "input_range",
            "[-1e39,1]",
            "two numbers, or two lists of three: what black and white become",
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
            refused(key, bytes.len(), || Weights::open(&bytes).map(|_| ())),
            format!(
                "weights: invalid metadata {key:?}: got {value:?}, expected {want}; make the file again"
            )
        );
    }
}

#[test]
fn a_zip_that_swells_is_not_unpacked() {
    let _alone = ALONE.lock();
    let zeros = vec![0; 200 << 20];
    let state = state(1);
    let cases = [
        (
            "a.keras",
            zip(&[("model.weights.h5", &zeros, true)]),
            "weights: cannot import a.keras (\"model.weights.h5\" swells from ",
        ),
        (
            "pickle.pth",
            zip(&[("a/data.pkl", &zeros, true)]),
            "weights: cannot import pickle.pth (\"a/data.pkl\" has 209715200 bytes, and at most 16777216 are taken); ",
        ),
        (
            "storage.pth",
            zip(&[("a/data.pkl", &state, false), ("a/data/0", &zeros, true)]),
            "weights: cannot import storage.pth (\"a/data/0\" swells from ",
        ),
    ];
    for (name, bytes, want) in cases {
        let said = base(name, &bytes);
        assert!(said.starts_with(want), "{said}");
    }
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (25600, 2048), }";
    let length = (header.len() as u16).to_le_bytes();
    let begin = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes()].concat();
    let array = [begin.as_slice(), &zeros].concat();
    let bytes = zip(&[("latents.npy", &array, true)]);
    let said = refused("npz", bytes.len(), || Latents::read(&bytes, None));
    let want = "latents: the array \"latents\" is damaged (it swells from ";
    assert!(said.starts_with(want), "{said}");

    // A member of a tarball.
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = tar::Header::new_ustar();
    header.set_size(zeros.len() as u64);
    header.set_cksum();
    tar.append_data(&mut header, "data_batch_1.bin", zeros.as_slice())
        .expect("memory");
    let packed = tar.into_inner().and_then(GzEncoder::finish);
    let bytes = packed.expect("memory");
    let said = refused("a.tar.gz", bytes.len(), || {
        cifar10::Files::new().add("a.tar.gz", &bytes)
    });
    let want = "a.tar.gz: invalid tarball (data_batch_1.bin swells from ";
    assert!(said.starts_with(want), "{said}");
}

#[test]
fn texts_take_room_that_their_letters_do_not() {
    let _alone = ALONE.lock();
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
    let said = refused("classes", bytes.len(), || Latents::read(&bytes, None));
    assert_eq!(
        said,
        "latents: the array \"classes\" (dtype |S1, shape [60000000]) is too large; split it into several files"
    );
}

/// A JPEG of three colours, whose second has these sampling factors, up to its data.
fn jpeg(factors: u8) -> Vec<u8> {
    let frame = [
        0xff, 0xc0, 0, 17, 8, 0, 40, 0, 24, 3, 1, 0x11, 0, 2, factors, 0, 3, 0x11, 0,
    ];
    let scan = [0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0];
    [&[0xff, 0xd8][..], &frame, &scan, &[0; 99], &[0xff, 0xd9]].concat()
}

#[test]
fn jpegs_that_their_decoder_falls_over_do_not_reach_it() {
    let _alone = ALONE.lock();
    for factors in [0x23, 0x21, 0x12, 0x00] {
        let bytes = jpeg(factors);
        assert_eq!(
            refused("a.jpg", bytes.len(), || Pixels::decode(&bytes)),
            "picture: the file is damaged (its colours are sampled finer than its brightness); save or download it again"
        );
    }
    let headless = [0xff, 0xd8, 0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0];
    for bytes in [&headless[..], &jpeg(0x11)[..12]] {
        let bytes = [bytes, &[0xff, 0xd9]].concat();
        assert_eq!(
            refused("a.jpg", bytes.len(), || Pixels::decode(&bytes)),
            "picture: the file is damaged (its header is cut off); save or download it again"
        );
    }
}

#[test]
fn what_is_named_many_times_is_read_once() {
    let _alone = ALONE.lock();
    // 20,000 tensors in one storage of 64 MB.
    let zeros = vec![0; 64 << 20];
    let bytes = zip(&[
        ("a/data.pkl", &state(20_000), false),
        ("a/data/0", &zeros, false),
    ]);
    let said = base("views.pth", &bytes);
    let want = "weights: cannot import views.pth (it holds 20000 tensors such as t0, t1, t10, not those of";
    assert!(said.starts_with(want), "{said}");

    // A tensor of half a million parts, by 100,000 names.
    let bytes = zip(&[
        ("a/data.pkl", &shared(100_000, 500_000), false),
        ("a/data/0", &zeros[..8], false),
    ]);
    let said = base("parts.pth", &bytes);
    let want = "weights: cannot import parts.pth (it holds 100001 tensors such as first, t0, t1, not those of";
    assert!(said.starts_with(want), "{said}");

    // One number for a tensor of any size.
    let mut bytes = state(1);
    let shape = bytes.windows(3).rposition(|w| w == b"K\x01\x85");
    let shape = shape.expect("steps") - 3;
    bytes.splice(shape..shape + 6, *b"J\0\0\0\x40\x85K\0\x85");
    let bytes = zip(&[
        ("a/data.pkl", &bytes, false),
        ("a/data/0", &zeros[..8], false),
    ]);
    let said = base("one.pth", &bytes);
    let want =
        "weights: cannot import one.pth (t0: the shape [1073741824] in steps of [0]); ";
    assert!(said.starts_with(want), "{said}");

    // A shard of 1 MB, 100,000 times.
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
        refused("shards", model.len(), || import::import(&files, None)),
        "weights: cannot import 1.bin (this shard is listed twice); choose model.json and all of its shards together, or \
         convert the model again"
    );

    // A text of 1,000 letters, half a million times.
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
        refused("names", names.len(), || cifar10::Files::new()
            .add("batches.meta", &names)),
        "batches.meta: not a file of CIFAR-10's Python version (its \"label_names\" are no texts); download the file again"
    );
}

/// A field of a protobuf message.
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
fn onnx_looks_at_shapes_before_numbers() {
    let _alone = ALONE.lock();
    // A chain of additions of one tensor of 4 million numbers, each a field of its own.
    let numbers = [4 << 3 | 5, 0, 0, 0, 0].repeat(4 << 20);
    let large = [
        &[8, 128, 128, 128, 2, 16, 1],
        field(8, b"large").as_slice(),
        &numbers,
    ]
    .concat();
    let said = base("chain.onnx", &chain(b"large", &large));
    let want = "weights: cannot import chain.onnx (Add among its layers, which Inception V3 has not); ";
    assert!(said.starts_with(want), "{said}");

    // The same chain of one number, with 4 million fields of nothing beside it.
    let nothing = [128, 1, 0].repeat(4 << 20);
    let number = [4 << 3 | 5, 0, 0, 128, 63];
    let small = [
        &[8, 1, 16, 1],
        field(8, b"small").as_slice(),
        &number,
        &nothing,
    ]
    .concat();
    let said = base("notes.onnx", &chain(b"small", &small));
    let want =
        "weights: cannot import notes.onnx (small: 12582928 bytes for the shape [1]); ";
    assert!(said.starts_with(want), "{said}");
}

/// A model of 900 additions, one after another, of the same tensor.
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
