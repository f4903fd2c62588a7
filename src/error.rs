//! The crate's error type: invalid user input of any kind.
//!
//! Messages are shown to users: lower case, thing + got + expected + what to do. Bugs in this crate are panics, not errors.

use thiserror::Error;

/// Why a picture, a weights file, a head, a latent table or a setting was rejected.
///
/// `what` is `weights`, `head` or `latents`: the kind of file that was read.
#[derive(Debug, Error)]
pub enum Error {
    /// The picture file is empty.
    #[error("picture: the file is empty (0 bytes); save or download it again")]
    EmptyPicture,
    /// The file signature matches no picture format.
    #[error(
        "picture: not a picture in a known format; use JPEG, PNG, WebP, GIF, BMP or AVIF (AVIF only in the page)"
    )]
    UnknownPicture,
    /// A picture format without a decoder in this crate.
    #[error("picture: {format} cannot be decoded here; save it as JPEG or PNG")]
    UnsupportedPicture {
        /// Name of the format, such as `AVIF`.
        format: &'static str,
    },
    /// The header exceeds the size limits.
    #[error(
        "picture: got {width} x {height} pixels, expected at most 50 megapixels and 16384 pixels per side; make it smaller"
    )]
    HugePicture {
        /// Width in pixels.
        width: u64,
        /// Height in pixels.
        height: u64,
    },
    /// The pixel data end before the last row.
    #[error("picture: the file is truncated; save or download it again")]
    TruncatedPicture,
    /// The decoder failed.
    #[error("picture: the file is damaged ({reason}); save or download it again")]
    DamagedPicture {
        /// Message of the decoder.
        reason: String,
    },
    /// The length of raw pixels does not match their width and height.
    #[error("picture: got {got} bytes of RGBA for {width} x {height} pixels, expected {want}")]
    PixelCount {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Expected number of bytes.
        want: usize,
        /// Actual number of bytes.
        got: usize,
    },

    /// Invalid or truncated safetensors file.
    #[error(
        "{what}: invalid safetensors file ({reason}, {bytes} bytes); download or convert it again"
    )]
    Container {
        /// The kind of file.
        what: &'static str,
        /// Message of the parser.
        reason: String,
        /// Length of the input.
        bytes: usize,
    },
    /// Invalid or truncated npz file.
    #[error("{what}: invalid npz file ({reason}, {bytes} bytes); save or download it again")]
    Npz {
        /// The kind of file.
        what: &'static str,
        /// Message of the parser.
        reason: String,
        /// Length of the input.
        bytes: usize,
    },
    /// An npz file without a required array.
    #[error(
        "{what}: the npz file has no array {name:?} (found: {found}); save it with np.savez(\"latents.npz\", latents=x, labels=y, classes=np.array([\"cat\", \"dog\"]))"
    )]
    MissingArray {
        /// The kind of file.
        what: &'static str,
        /// Name of the missing array.
        name: &'static str,
        /// Names of the arrays in the file.
        found: String,
    },
    /// An array whose data do not match its header or the archive's directory.
    #[error("{what}: the array {name:?} is damaged ({reason}); save the file again")]
    Array {
        /// The kind of file.
        what: &'static str,
        /// Name of the array.
        name: &'static str,
        /// The mismatch.
        reason: String,
    },
    /// An array that exceeds the size limit.
    #[error(
        "{what}: the array {name:?} (dtype {dtype}, shape {shape:?}) is too large; split it into several files"
    )]
    HugeArray {
        /// The kind of file.
        what: &'static str,
        /// Name of the array.
        name: &'static str,
        /// Its NumPy type string, such as `<f4`.
        dtype: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// An array of pickled Python objects; unpickling can run code.
    #[error(
        "{what}: the array {name:?} contains pickled Python objects, which can run code when they are loaded; save it as np.array({name}, dtype={save})"
    )]
    Pickled {
        /// The kind of file.
        what: &'static str,
        /// Name of the array.
        name: &'static str,
        /// Suggested dtype.
        save: &'static str,
    },
    /// A safetensors file without a required metadata key.
    #[error(
        "{what}: the metadata has no {key:?}; this is not a {what} file of inception-web; create one with `inception-web {command}`"
    )]
    MissingMetadata {
        /// The kind of file.
        what: &'static str,
        /// The missing key.
        key: &'static str,
        /// The subcommand that writes such files.
        command: &'static str,
    },
    /// An invalid metadata value.
    #[error("{what}: invalid metadata {key:?}: got {got:?}, expected {want}; write the file again")]
    Metadata {
        /// The kind of file.
        what: &'static str,
        /// The key.
        key: &'static str,
        /// The value, shortened.
        got: String,
        /// Description of valid values.
        want: &'static str,
    },
    /// A required tensor is missing.
    #[error("{what}: {name} is missing; write the file again")]
    MissingTensor {
        /// The kind of file.
        what: &'static str,
        /// Name of the tensor.
        name: String,
    },
    /// A tensor that the file must not have.
    #[error("{what}: unexpected tensor {name}; write the file again")]
    UnexpectedTensor {
        /// The kind of file.
        what: &'static str,
        /// Name of the tensor.
        name: String,
    },
    /// A tensor of the wrong shape.
    #[error("{what}: {name} has shape {got:?}, expected {want:?}; write the file again")]
    Shape {
        /// The kind of file.
        what: &'static str,
        /// Name of the tensor.
        name: String,
        /// Expected shape.
        want: Vec<usize>,
        /// Actual shape.
        got: Vec<usize>,
    },
    /// A tensor of an unsupported dtype.
    #[error("{what}: {name} has dtype {got}, expected {want}; write the file again")]
    Dtype {
        /// The kind of file.
        what: &'static str,
        /// Name of the tensor.
        name: String,
        /// Supported dtypes.
        want: &'static str,
        /// Actual dtype.
        got: String,
    },
    /// A tensor with NaN or infinity.
    #[error("{what}: {name} is not finite at index {index}; write the file again")]
    NotFinite {
        /// The kind of file.
        what: &'static str,
        /// Name of the tensor.
        name: String,
        /// Index of the value in the flattened tensor.
        index: usize,
    },
    /// The contents do not match the checksum in the metadata.
    #[error(
        "weights: the SHA-256 of the contents is {got}, expected {want}; the file is damaged, download or convert it again"
    )]
    Checksum {
        /// The digest in the metadata.
        want: String,
        /// The digest of the contents.
        got: String,
    },
    /// A weights file of another library that cannot be imported.
    #[error("weights: cannot import {file} ({reason}); {hint}")]
    Source {
        /// Name of the file.
        file: String,
        /// Why it was rejected.
        reason: String,
        /// What to do.
        hint: &'static str,
    },

    /// A head or latents of another base.
    #[error(
        "{what}: made with the base {got:?} (fingerprint {got_fingerprint}), expected {want:?} (fingerprint {want_fingerprint}); load that base, or make the {what} again with the current one"
    )]
    OtherBase {
        /// `head` or `latents`.
        what: &'static str,
        /// Name of the base in the file.
        got: String,
        /// First digits of its fingerprint.
        got_fingerprint: String,
        /// Name of the loaded base.
        want: String,
        /// First digits of its fingerprint.
        want_fingerprint: String,
    },
    /// Latents without class names.
    #[error(
        "latents: the metadata has no \"classes\"; in Python, save it with save_file({{\"latents\": x, \"labels\": y}}, path, metadata={{\"classes\": json.dumps([\"cat\", \"dog\"])}})"
    )]
    MissingClasses,
    /// Latents without a fingerprint, and no base is loaded.
    #[error(
        "latents: the file does not name its base, and no base is loaded; add its \"fingerprint\" (64 hexadecimal digits, as printed by `inception-web weights --inspect`)"
    )]
    UnknownBase,
    /// A latent table without rows.
    #[error("latents: the table has no rows; save the latents of at least one picture")]
    NoRows,
    /// Two classes of the same name.
    #[error("latents: the class {name:?} is listed twice; give every class a unique name")]
    DuplicateClass {
        /// The name.
        name: String,
    },
    /// A label without a class.
    #[error(
        "latents: row {row} has label {label}, but there are {classes} classes; write the file again"
    )]
    Label {
        /// The label.
        label: i64,
        /// Index of the row.
        row: usize,
        /// Number of classes.
        classes: usize,
    },
    /// Fewer than two classes have pictures.
    #[error(
        "train: classes with pictures: got {got}, expected at least 2; add pictures to another class"
    )]
    TooFewClasses {
        /// Number of classes with at least one picture.
        got: usize,
    },
    /// A class without pictures.
    #[error("train: the class {name:?} has no pictures; add some, or delete the class")]
    EmptyClass {
        /// Its name.
        name: String,
    },
    /// A class that is too small for cross-validation.
    #[error(
        "evaluate: the class {name:?} has one picture, expected at least 2 for cross-validation; add pictures to it"
    )]
    SmallClass {
        /// Its name.
        name: String,
    },
    /// A class whose only picture would be held out for testing.
    #[error(
        "train: the class {name:?} has one picture, but one per class is held out for testing; add pictures to it, or add test pictures"
    )]
    NothingToTest {
        /// Its name.
        name: String,
    },
    /// A setting out of range.
    #[error("invalid {name}: got {got}, expected {want}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// The given value.
        got: String,
        /// Description of valid values.
        want: &'static str,
    },

    /// A file that is not part of CIFAR-10.
    #[error(
        "{file}: not a CIFAR-10 file; use data_batch_1.bin to data_batch_5.bin, test_batch.bin and batches.meta.txt, the files of the Python version, or the .tar.gz of either version"
    )]
    NotCifar {
        /// Name of the file.
        file: String,
    },
    /// No file with pictures was added.
    #[error(
        "no pictures in these files; add data_batch_1.bin, or data_batch_1 of the Python version"
    )]
    NoBatch,
    /// A binary file whose length is not a multiple of the record size.
    #[error(
        "{file}: got {bytes} bytes, expected CIFAR-10 records of {record} bytes; download the file again"
    )]
    Records {
        /// Name of the file.
        file: String,
        /// Length of the file.
        bytes: usize,
        /// Length of a record.
        record: usize,
    },
    /// A record whose label has no class.
    #[error(
        "{file}: record {record} has label {label}, but there are {classes} classes; download the file again"
    )]
    RecordLabel {
        /// Name of the file.
        file: String,
        /// Index of the record.
        record: usize,
        /// The label.
        label: i64,
        /// Number of classes.
        classes: usize,
    },
    /// An invalid file of the Python version of CIFAR-10.
    #[error("{file}: invalid CIFAR-10 pickle ({reason}); download the file again")]
    PythonBatch {
        /// Name of the file.
        file: String,
        /// Why it was rejected.
        reason: String,
    },
    /// An invalid list of class names.
    #[error("{file}: invalid class names ({reason}); download the file again, or leave it out")]
    ClassNames {
        /// Name of the file.
        file: String,
        /// Why it was rejected.
        reason: String,
    },
    /// A truncated or damaged tarball.
    #[error("{file}: invalid tarball ({reason}); download the file again")]
    Tarball {
        /// Name of the file.
        file: String,
        /// Message of the decoder.
        reason: String,
    },
    /// A tarball that unpacks to more than the size limit.
    #[error(
        "{file}: unpacks to more than {limit} MB, expected 190 MB for CIFAR-10; download the file again, or unpack it and use its files"
    )]
    HugeTarball {
        /// Name of the file.
        file: String,
        /// The limit, in megabytes.
        limit: u64,
    },

    /// The compute device failed.
    #[error("device: {reason}; use another device, such as the CPU")]
    Device {
        /// What failed.
        reason: String,
    },
}

impl Error {
    /// The category of the error: `picture`, `weights`, `head`, `latents`, `setting`, `train`, `pictures` or `device`.
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
            | Error::Npz { what, .. }
            | Error::MissingArray { what, .. }
            | Error::Array { what, .. }
            | Error::HugeArray { what, .. }
            | Error::Pickled { what, .. }
            | Error::MissingMetadata { what, .. }
            | Error::Metadata { what, .. }
            | Error::MissingTensor { what, .. }
            | Error::UnexpectedTensor { what, .. }
            | Error::Shape { what, .. }
            | Error::Dtype { what, .. }
            | Error::NotFinite { what, .. }
            | Error::OtherBase { what, .. } => what,
            Error::Checksum { .. } | Error::Source { .. } => "weights",
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
