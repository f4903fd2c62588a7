//! Everything that can be wrong with what a person gives us, in one enum.
//!
//! The message is the interface: lower case, thing + got + expected + what to do. Our own bugs are panics, not errors.

use thiserror::Error;

/// Why a picture, a weights file, a head or a table of latents was refused.
#[derive(Debug, Error)]
pub enum Error {
    /// The picture file has no bytes.
    #[error("picture: the file is empty (0 bytes); save or download it again")]
    EmptyPicture,
    /// The bytes are no picture that anybody here knows.
    #[error(
        "picture: not a picture in a known format; use JPEG, PNG, WebP, GIF, BMP or, in the browser, AVIF"
    )]
    UnknownPicture,
    /// A known format that this library does not decode.
    #[error("picture: {format} cannot be decoded here; save it as JPEG or PNG")]
    UnsupportedPicture {
        /// The format's name, such as `AVIF`.
        format: &'static str,
    },
    /// The header claims more than we allocate.
    #[error(
        "picture: {width} x {height} pixels are too many; the limit is 50 megapixels and 16384 a side, make it smaller"
    )]
    HugePicture {
        /// Pixels a row.
        width: u64,
        /// Rows.
        height: u64,
    },
    /// The pixels end before the last row.
    #[error("picture: the file is cut off before its end; save or download it again")]
    TruncatedPicture,
    /// The header is a picture's, the rest is not.
    #[error("picture: the file is damaged ({reason}); save or download it again")]
    DamagedPicture {
        /// The decoder's own words.
        reason: String,
    },
    /// Raw pixels whose length does not fit their size.
    #[error("picture: {got} bytes of RGBA for {width} x {height} pixels, expected {want}")]
    PixelCount {
        /// Pixels a row.
        width: u32,
        /// Rows.
        height: u32,
        /// Bytes expected.
        want: usize,
        /// Bytes given.
        got: usize,
    },

    /// The file is no safetensors file, or ends early.
    #[error(
        "{what}: not a whole safetensors file ({reason}, {bytes} bytes); download or convert it again"
    )]
    Container {
        /// `weights`, `head` or `latents`.
        what: &'static str,
        /// The container's own words.
        reason: String,
        /// The length of what was given.
        bytes: usize,
    },
    /// The file is no zip, or ends early.
    #[error("{what}: not a whole npz file ({reason}, {bytes} bytes); save or download it again")]
    Archive {
        /// `latents`.
        what: &'static str,
        /// The archive's own words.
        reason: String,
        /// The length of what was given.
        bytes: usize,
    },
    /// A zip of something else.
    #[error(
        "{what}: the npz file holds {has}, but no {name:?}; save it with np.savez(\"latents.npz\", latents=x, labels=y, classes=np.array([\"cat\", \"dog\"]))"
    )]
    MissingArray {
        /// `latents`.
        what: &'static str,
        /// The missing array's name.
        name: &'static str,
        /// The names of what is there.
        has: String,
    },
    /// An array that is not what its header or the archive says.
    #[error("{what}: the array {name:?} is damaged ({reason}); save the file again")]
    Array {
        /// `latents`.
        what: &'static str,
        /// The array's name.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// An array that claims more than we allocate.
    #[error(
        "{what}: the array {name:?} of {dtype} in the shape {shape:?} is too large to be opened here; save it in parts"
    )]
    HugeArray {
        /// `latents`.
        what: &'static str,
        /// The array's name.
        name: &'static str,
        /// Its type in NumPy's letters.
        dtype: String,
        /// Its sides.
        shape: Vec<usize>,
    },
    /// An array of Python objects, which only running code can open.
    #[error(
        "{what}: the array {name:?} is made of pickled Python objects, which can run code when they are opened; save it as np.array({name}, dtype={save})"
    )]
    Pickled {
        /// `latents`.
        what: &'static str,
        /// The array's name.
        name: &'static str,
        /// The dtype to save it in.
        save: &'static str,
    },
    /// A safetensors file of something else.
    #[error(
        "{what}: the file's metadata has no {key:?}; this is not a {what} file of inception-web, make one with `inception-web {command}`"
    )]
    MissingMetadata {
        /// `weights`, `head` or `latents`.
        what: &'static str,
        /// The missing key.
        key: &'static str,
        /// The subcommand that writes such files.
        command: &'static str,
    },
    /// A metadata value that cannot be read.
    #[error("{what}: the metadata {key:?} is {got:?}, expected {want}; make the file again")]
    Metadata {
        /// `weights`, `head` or `latents`.
        what: &'static str,
        /// The key.
        key: &'static str,
        /// The value found.
        got: String,
        /// What it should look like.
        want: &'static str,
    },
    /// A tensor is not there.
    #[error("{what}: {name} is missing; make the file again")]
    MissingTensor {
        /// `weights`, `head` or `latents`.
        what: &'static str,
        /// The tensor's name.
        name: String,
    },
    /// A tensor that nobody asked for.
    #[error("{what}: {name} does not belong in this file; make the file again")]
    ForeignTensor {
        /// `weights`, `head` or `latents`.
        what: &'static str,
        /// The tensor's name.
        name: String,
    },
    /// A tensor of another shape.
    #[error("{what}: {name} has shape {got:?}, expected {want:?}; make the file again")]
    Shape {
        /// `weights`, `head` or `latents`.
        what: &'static str,
        /// The tensor's name.
        name: String,
        /// The shape expected.
        want: Vec<usize>,
        /// The shape found.
        got: Vec<usize>,
    },
    /// A tensor of another number type.
    #[error("{what}: {name} has numbers of type {got}, expected {want}; make the file again")]
    Dtype {
        /// `weights`, `head` or `latents`.
        what: &'static str,
        /// The tensor's name.
        name: String,
        /// The types expected.
        want: &'static str,
        /// The type found.
        got: String,
    },
    /// NaN or infinity where a number must be.
    #[error(
        "{what}: {name} holds a number that is not finite, at index {index}; make the file again"
    )]
    NotFinite {
        /// `weights`, `head` or `latents`.
        what: &'static str,
        /// The tensor's name.
        name: String,
        /// Where, counted in numbers from the start.
        index: usize,
    },
    /// The bytes are not the ones that were written.
    #[error(
        "weights: the SHA-256 of the contents is {got}, the file says {want}; the file is damaged, download or convert it again"
    )]
    Digest {
        /// From the metadata.
        want: String,
        /// From the bytes.
        got: String,
    },
    /// A source of weights that cannot be read.
    #[error("weights: {file} is not what was expected ({reason}); {hint}")]
    Source {
        /// The file's name.
        file: String,
        /// What is wrong with it.
        reason: String,
        /// What to do.
        hint: &'static str,
    },

    /// A head or latents that belong to another base.
    #[error(
        "{what}: made with the base {theirs:?} (fingerprint {their_fingerprint}), but the base here is {ours:?} (fingerprint {our_fingerprint}); use that base, or make the {what} again with this one"
    )]
    OtherBase {
        /// `head` or `latents`.
        what: &'static str,
        /// The base's name in the file.
        theirs: String,
        /// The first digits of its fingerprint.
        their_fingerprint: String,
        /// The loaded base's name.
        ours: String,
        /// The first digits of its fingerprint.
        our_fingerprint: String,
    },
    /// Latents without class names.
    #[error(
        "latents: the file's metadata has no \"classes\"; in Python, save it with save_file({{\"latents\": x, \"labels\": y}}, path, metadata={{\"classes\": json.dumps([\"cat\", \"dog\"])}})"
    )]
    MissingClasses,
    /// Latents that do not say of which base, where none is at hand.
    #[error(
        "latents: the file does not say which base made them, and no base is at hand; add its \"fingerprint\" (64 hexadecimal digits, as `inception-web weights --inspect` tells)"
    )]
    UnknownBase,
    /// A table without pictures.
    #[error("latents: the table has no rows; save at least one picture's latents")]
    NoRows,
    /// Two classes of one name.
    #[error("latents: the class {name:?} is listed twice; give every class a name of its own")]
    DuplicateClass {
        /// The name.
        name: String,
    },
    /// A label that names no class.
    #[error(
        "latents: label {label} at row {row} names none of the {classes} classes; make the file again"
    )]
    Label {
        /// The label found.
        label: i64,
        /// Where.
        row: usize,
        /// How many classes there are.
        classes: usize,
    },
    /// Fewer than two classes have pictures.
    #[error(
        "train: {got} of the classes have pictures, at least two are needed; add pictures to another class"
    )]
    TooFewClasses {
        /// Classes with at least one picture.
        got: usize,
    },
    /// A class that nobody can learn.
    #[error("train: the class {name:?} has no pictures; add some, or delete the class")]
    EmptyClass {
        /// Its name.
        name: String,
    },
    /// A class that cannot be both learnt and asked about.
    #[error(
        "evaluate: the class {name:?} has one picture, and folds need two of each; add pictures to it"
    )]
    SmallClass {
        /// Its name.
        name: String,
    },
    /// A class whose only picture cannot be both learnt and asked about.
    #[error(
        "train: the class {name:?} has one picture, and one of each has to be held out for the test; add pictures to it, or test pictures"
    )]
    NothingToTest {
        /// Its name.
        name: String,
    },
    /// A setting that cannot work.
    #[error("{name}: {got} will not do, expected {want}")]
    Setting {
        /// The setting's name.
        name: &'static str,
        /// The value given.
        got: String,
        /// What it should be.
        want: &'static str,
    },

    /// A file of pictures that none of the forms here has.
    #[error(
        "{file}: no file of CIFAR-10; use data_batch_1.bin to data_batch_5.bin, test_batch.bin and batches.meta.txt, the files of its Python version, or either version's .tar.gz"
    )]
    NotCifar {
        /// The file's name.
        file: String,
    },
    /// Class names or nothing, where pictures should be.
    #[error(
        "no pictures in these files; add data_batch_1.bin, or the file data_batch_1 of the Python version"
    )]
    NoBatch,
    /// Records that are cut off.
    #[error("{file}: {bytes} bytes are not whole CIFAR-10 records of {record}; get the file again")]
    Records {
        /// The file's name.
        file: String,
        /// Its length.
        bytes: usize,
        /// A record's length.
        record: usize,
    },
    /// A record's label that names no class.
    #[error(
        "{file}: record {record} has label {label}, but there are {classes} classes; get the file again"
    )]
    RecordLabel {
        /// The file's name.
        file: String,
        /// Which record, counted from 0.
        record: usize,
        /// The label found.
        label: i64,
        /// How many classes there are.
        classes: usize,
    },
    /// A file of CIFAR-10's Python version that is cut off, or something else.
    #[error("{file}: not a file of CIFAR-10's Python version ({reason}); get the file again")]
    PythonBatch {
        /// The file's name.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Class names that cannot be used.
    #[error("{file}: not a list of class names ({reason}); get the file again, or leave it out")]
    ClassNames {
        /// The file's name.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tarball that is cut off or damaged.
    #[error("{file}: not a whole tarball ({reason}); get the file again")]
    Tarball {
        /// The file's name.
        file: String,
        /// The unpacker's own words.
        reason: String,
    },
    /// A tarball that becomes more than we take.
    #[error(
        "{file}: unpacks to more than {limit} MB, and CIFAR-10 to 190; get the file again, or unpack it and use its files"
    )]
    HugeTarball {
        /// The file's name.
        file: String,
        /// The limit, in megabytes.
        limit: u64,
    },

    /// The device cannot be used.
    #[error("device: {reason}; use another device, such as the CPU")]
    Device {
        /// Why.
        reason: String,
    },
}

impl Error {
    /// The error's family, for programs: `picture`, `weights`, `head`, `latents`, `setting`, `train`, `pictures` or
    /// `device`.
    pub fn kind(&self) -> &'static str {
        match self {
            Error::EmptyPicture
            | Error::UnknownPicture
            | Error::UnsupportedPicture { .. }
            | Error::HugePicture { .. }
            | Error::TruncatedPicture
            | Error::DamagedPicture { .. }
            | Error::PixelCount { .. } => "picture",
            Error::Container { what, .. }
            | Error::Archive { what, .. }
            | Error::MissingArray { what, .. }
            | Error::Array { what, .. }
            | Error::HugeArray { what, .. }
            | Error::Pickled { what, .. }
            | Error::MissingMetadata { what, .. }
            | Error::Metadata { what, .. }
            | Error::MissingTensor { what, .. }
            | Error::ForeignTensor { what, .. }
            | Error::Shape { what, .. }
            | Error::Dtype { what, .. }
            | Error::NotFinite { what, .. }
            | Error::OtherBase { what, .. } => what,
            Error::Digest { .. } | Error::Source { .. } => "weights",
            Error::MissingClasses
            | Error::UnknownBase
            | Error::NoRows
            | Error::DuplicateClass { .. }
            | Error::Label { .. } => "latents",
            Error::TooFewClasses { .. }
            | Error::EmptyClass { .. }
            | Error::SmallClass { .. }
            | Error::NothingToTest { .. } => "train",
            Error::NotCifar { .. }
            | Error::NoBatch
            | Error::Records { .. }
            | Error::RecordLabel { .. }
            | Error::PythonBatch { .. }
            | Error::ClassNames { .. }
            | Error::Tarball { .. }
            | Error::HugeTarball { .. } => "pictures",
            Error::Setting { .. } => "setting",
            Error::Device { .. } => "device",
        }
    }
}
