//! Reads labelled pictures as 32x32 planes: from CIFAR-10 files, from folders or from zip archives.

use std::{
    borrow::Cow,
    fs,
    path::{Path, PathBuf},
};

use inception_web::{
    format::zip::{self, Archive},
    image::{
        Pixels,
        cifar10::{self, Files},
        small::{PictureSet, Pictures, to_planes},
    },
};
use rayon::prelude::*;

use super::{
    files::{entries, file_name, read},
    result::CliResult,
};

/// Size limit of a file in a zip, in bytes.
const MAX_ZIPPED_FILE: u64 = 256 << 20;

/// Opens CIFAR-10 files, a folder with a folder or a zip per class, or a zip with a folder per class.
///
/// The class folders can be in `train` and `test` folders; without them, all pictures are training pictures. Files that cannot be
/// decoded are skipped with a message.
pub fn open_set(path: &Path) -> CliResult<PictureSet> {
    if let Some(set) = open_cifar10(path)? {
        return Ok(set);
    }
    let shown = path.display();
    let mut listing = Listing::default();
    if path.is_dir() {
        listing.add_folder(path)?;
    } else if is_zip(path) {
        listing.add_zip(path)?;
    } else if path.exists() {
        return Err(format!(
            "{shown}: not a folder, a .zip or a CIFAR-10 file; pass a folder with a folder of pictures per class"
        )
        .into());
    } else {
        return Err(format!("{shown}: no such file or folder").into());
    }
    if listing.classes.is_empty() {
        return Err(format!(
            "{shown}: no classes; put the pictures of each class in a separate folder"
        )
        .into());
    }
    listing.decode()
}

/// Opens a CIFAR-10 file, or a folder of them, in any of its versions. Returns `None` for other paths.
pub fn open_cifar10(path: &Path) -> CliResult<Option<PictureSet>> {
    let files = if path.is_dir() {
        cifar10_files(path)?
    } else if path.is_file() && is_cifar10_file(path) {
        let metas = ["batches.meta.txt", "batches.meta"].map(|meta| path.with_file_name(meta));
        let metas = metas.into_iter().filter(|meta| {
            // The class names have to be of the same version; a tarball includes them.
            let binary = path.extension().is_some();
            meta.extension().is_some() == binary && meta.is_file()
        });
        let metas = metas.filter(|_| !cifar10::is_tarball(&raw_file_name(path)));
        metas.chain([path.to_path_buf()]).collect()
    } else {
        Vec::new()
    };
    if files.is_empty() {
        return Ok(None);
    }
    let mut set = Files::new();
    for file in files {
        set.add(&file.display().to_string(), &read(&file)?)?;
    }
    Ok(Some(set.finish()?))
}

/// Lists the CIFAR-10 files of a folder, class names first: its own files, else those in the subfolder of an unpacked tarball, else tarballs.
fn cifar10_files(folder: &Path) -> CliResult<Vec<PathBuf>> {
    let list_batches = |folder: &Path| -> CliResult<Vec<PathBuf>> {
        let mut files = entries(folder)?;
        files.retain(|path| path.is_file());
        if !files
            .iter()
            .any(|path| cifar10::is_batch(&raw_file_name(path)))
        {
            return Ok(Vec::new());
        }
        let (metas, rest): (Vec<_>, Vec<_>) = files
            .into_iter()
            .partition(|path| cifar10::is_meta(&raw_file_name(path)));
        let batches = rest
            .into_iter()
            .filter(|path| cifar10::is_batch(&raw_file_name(path)));
        Ok(metas.into_iter().chain(batches).collect())
    };
    let mut folders = vec![folder.to_path_buf()];
    folders.extend(["cifar-10-batches-bin", "cifar-10-batches-py"].map(|name| folder.join(name)));
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        let files = list_batches(folder)?;
        if !files.is_empty() {
            return Ok(files);
        }
    }
    let mut tarballs = entries(folder)?;
    tarballs.retain(|path| {
        let name = raw_file_name(path);
        cifar10::is_tarball(&name) && name.starts_with("cifar-10-")
    });
    Ok(tarballs)
}

/// Returns whether the file name is that of a CIFAR-10 batch or tarball.
fn is_cifar10_file(path: &Path) -> bool {
    let name = raw_file_name(path);
    cifar10::is_batch(&name) || cifar10::is_tarball(&name)
}

/// Returns the last component of a path without resolving links.
fn raw_file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The subset that a folder contains, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subset {
    Training,
    Test,
    /// Is ignored.
    Validation,
}

fn subset_of(name: &str) -> Option<Subset> {
    match name.to_lowercase().as_str() {
        "train" | "training" => Some(Subset::Training),
        "test" | "testing" => Some(Subset::Test),
        "val" | "valid" | "validation" => Some(Subset::Validation),
        _ => None,
    }
}

/// The files of a picture set before they are decoded.
#[derive(Default)]
struct Listing {
    /// Also those without pictures; can have duplicates.
    classes: Vec<String>,
    items: Vec<Item>,
    /// The bytes of the archives.
    zips: Vec<Vec<u8>>,
}

struct Item {
    test: bool,
    class: String,
    name: String,
    source: Source,
}

enum Source {
    File(PathBuf),
    /// Index of the archive, and the entry.
    Zip(usize, zip::Entry),
}

/// A file or folder in a zip, with its path split into names.
#[derive(Clone)]
struct ZipItem {
    folders: Vec<String>,
    /// Empty for a folder.
    file: String,
    entry: zip::Entry,
}

impl Listing {
    /// Adds a folder with class folders, optionally inside `train` and `test` folders.
    fn add_folder(&mut self, folder: &Path) -> CliResult {
        let subsets: Vec<_> = entries(folder)?
            .into_iter()
            .filter(|path| path.is_dir())
            .filter_map(|path| Some((subset_of(&file_name(&path))?, path)))
            .collect();
        if !subsets
            .iter()
            .any(|(subset, _)| *subset == Subset::Training)
        {
            return self.add_class_folders(folder, false);
        }
        for (wanted, test) in [(Subset::Training, false), (Subset::Test, true)] {
            for (_, folder) in subsets.iter().filter(|(subset, _)| *subset == wanted) {
                self.add_class_folders(folder, test)?;
            }
        }
        Ok(())
    }

    /// Adds a folder with a folder or a zip per class.
    fn add_class_folders(&mut self, folder: &Path, test: bool) -> CliResult {
        for path in entries(folder)? {
            let name = file_name(&path);
            if path.is_dir() {
                for file in entries(&path)?.into_iter().filter(|path| path.is_file()) {
                    self.items.push(Item {
                        test,
                        class: name.clone(),
                        name: format!("{name}/{}", file_name(&file)),
                        source: Source::File(file),
                    });
                }
                self.classes.push(name);
            } else if is_zip(&path) {
                let class = name[..name.len() - ".zip".len()].to_string();
                let (zip, items) = self.open_zip(&path)?;
                for item in items.into_iter().filter(|item| !item.file.is_empty()) {
                    self.add_zip_item(test, class.clone(), zip, item);
                }
                self.classes.push(class);
            }
        }
        Ok(())
    }

    /// Adds a zip with class folders, optionally inside `train` and `test` folders.
    fn add_zip(&mut self, path: &Path) -> CliResult {
        let (zip, items) = self.open_zip(path)?;
        // The last folder is the class.
        let subset_of_item = |item: &ZipItem| {
            let parents = item
                .folders
                .split_last()
                .map_or(&[][..], |(_, parents)| parents);
            parents.iter().find_map(|name| subset_of(name))
        };
        let has_subsets = items
            .iter()
            .any(|item| subset_of_item(item) == Some(Subset::Training));
        for item in &items {
            let test = match subset_of_item(item) {
                _ if !has_subsets => false,
                Some(Subset::Training) => false,
                Some(Subset::Test) => true,
                _ => continue,
            };
            let Some(class) = item.folders.last().cloned() else {
                eprintln!("skipped {}: not in the folder of a class", item.file);
                continue;
            };
            if !item.file.is_empty() {
                self.classes.push(class.clone());
                self.add_zip_item(test, class, zip, item.clone());
                continue;
            }
            // An empty folder is a class without pictures.
            let is_inside = |other: &ZipItem| {
                other.folders.starts_with(&item.folders)
                    && (other.folders.len() > item.folders.len() || !other.file.is_empty())
            };
            if subset_of(&class).is_none() && !items.iter().any(is_inside) {
                self.classes.push(class);
            }
        }
        self.classes.sort();
        Ok(())
    }

    fn add_zip_item(&mut self, test: bool, class: String, zip: usize, item: ZipItem) {
        self.items.push(Item {
            test,
            name: format!("{class}/{}", item.file),
            class,
            source: Source::Zip(zip, item.entry),
        });
    }

    /// Stores the bytes of a zip. Returns its index, and its visible files and folders in the order of their paths.
    fn open_zip(&mut self, path: &Path) -> CliResult<(usize, Vec<ZipItem>)> {
        let bytes = read(path)?;
        let archive = Archive::open(&bytes).map_err(|reason| {
            let path = path.display();
            format!("{path}: invalid zip ({reason}); save or download it again")
        })?;
        let mut items = Vec::new();
        for entry in archive.entries() {
            let mut folders: Vec<_> = entry.name.split('/').map(String::from).collect();
            let file = folders.pop().unwrap_or_default();
            let is_hidden = |name: &String| name.starts_with('.') || name == "__MACOSX";
            if !folders.iter().chain([&file]).any(is_hidden) {
                items.push(ZipItem {
                    folders,
                    file,
                    entry: entry.clone(),
                });
            }
        }
        items.sort_by(|a, b| (&a.folders, &a.file).cmp(&(&b.folders, &b.file)));
        self.zips.push(bytes);
        Ok((self.zips.len() - 1, items))
    }

    /// Decodes and shrinks all pictures on all cores.
    fn decode(self) -> CliResult<PictureSet> {
        let zips = self.zips.iter().map(|bytes| Archive::open(bytes));
        let zips: Vec<_> = zips.collect::<Result<_, _>>()?;
        let decoded: Vec<_> = self
            .items
            .par_iter()
            .map(|item| {
                let bytes = match &item.source {
                    Source::File(path) => match fs::read(path) {
                        Ok(bytes) => Ok(Cow::Owned(bytes)),
                        Err(error) => Err(error.to_string()),
                    },
                    Source::Zip(zip, entry) => zips[*zip]
                        .read_entry(entry, MAX_ZIPPED_FILE)
                        .map_err(|reason| format!("{reason}; create the zip again")),
                };
                let pixels = Pixels::decode(&bytes?).map_err(|error| error.to_string())?;
                Ok::<_, String>(to_planes(&pixels))
            })
            .collect();
        // Both subsets have all classes, with the same labels.
        let mut classes = Pictures::default();
        for class in &self.classes {
            classes.label_of(class);
        }
        let mut set = PictureSet {
            test: classes.clone(),
            training: classes,
        };
        for (item, planes) in self.items.into_iter().zip(decoded) {
            let pictures = if item.test {
                &mut set.test
            } else {
                &mut set.training
            };
            match planes {
                Ok(planes) => {
                    let label = pictures.label_of(&item.class);
                    pictures.push(item.name, label, &planes);
                }
                Err(error) => eprintln!("skipped {}: {error}", item.name),
            }
        }
        Ok(set)
    }
}

fn is_zip(path: &Path) -> bool {
    let extension = path.extension();
    path.is_file() && extension.is_some_and(|extension| extension.eq_ignore_ascii_case("zip"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rawzip::ZipArchiveWriter;

    use super::*;

    /// Creates an empty temporary folder.
    fn temporary_folder(test: &str) -> PathBuf {
        let name = format!("inception-web-{test}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a new folder");
        folder
    }

    fn remove(folder: &Path) {
        fs::remove_dir_all(folder).expect("the folder is deleted");
    }

    fn write_files(folder: &Path, files: &[(&str, Vec<u8>)]) {
        for (name, bytes) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a new folder");
            fs::write(path, bytes).expect("a new file");
        }
    }

    fn zip_of(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut archive = ZipArchiveWriter::new(Vec::new());
        for (name, bytes) in files {
            if name.ends_with('/') {
                archive.new_dir(name).create().expect("a folder");
                continue;
            }
            let (mut entry, config) = archive.new_file(name).start().expect("an entry");
            let mut stored = config.wrap(&mut entry);
            stored.write_all(bytes).expect("memory");
            let (_, descriptor) = stored.finish().expect("memory");
            entry.finish(descriptor).expect("memory");
        }
        archive.finish().expect("memory")
    }

    fn picture() -> Vec<u8> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        fs::read(root.join("tests/pictures/one.png")).expect("a picture")
    }

    /// Returns the names of the training and of the test pictures.
    fn names(set: &PictureSet) -> [Vec<&str>; 2] {
        [&set.training, &set.test].map(|subset| subset.names.iter().map(String::as_str).collect())
    }

    #[test]
    fn class_folders_and_class_zips_are_training_pictures_and_damaged_files_are_skipped() {
        let folder = temporary_folder("classes");
        write_files(
            &folder,
            &[
                ("cat/a.png", picture()),
                ("cat/notes.txt", b"notes".to_vec()),
                (
                    "frog.zip",
                    zip_of(&[("any/b.png", picture()), ("c.png", picture())]),
                ),
            ],
        );
        fs::create_dir_all(folder.join("dog")).expect("an empty class");
        let set = open_set(&folder).expect("a set");
        assert_eq!(set.training.classes, ["cat", "dog", "frog"]);
        assert_eq!(set.test.classes, set.training.classes);
        assert_eq!(
            names(&set),
            [vec!["cat/a.png", "frog/c.png", "frog/b.png"], vec![]]
        );
        assert_eq!(set.training.labels, [0, 2, 2]);
        let pixels = Pixels::decode(&picture()).expect("a picture");
        for row in 0..3 {
            assert_eq!(set.training.row(row), to_planes(&pixels));
        }
        remove(&folder);
    }

    #[test]
    fn train_and_test_folders_are_recognised_in_a_folder_and_in_a_zip() {
        let files = [
            ("set/train/cat/a.png", picture()),
            ("set/train/dog/b.png", picture()),
            ("set/Test/dog/c.png", picture()),
            ("set/val/cat/d.png", picture()),
            ("set/train/empty/", Vec::new()),
        ];
        let folder = temporary_folder("subsets");
        write_files(&folder, &files[..4]);
        write_files(&folder, &[("set.zip", zip_of(&files))]);
        let from_folder = open_set(&folder.join("set")).expect("a set");
        let from_zip = open_set(&folder.join("set.zip")).expect("a set");
        for (set, classes) in [
            (from_folder, &["cat", "dog"][..]),
            (from_zip, &["cat", "dog", "empty"]),
        ] {
            assert_eq!(set.training.classes, classes);
            assert_eq!(set.test.classes, classes);
            assert_eq!(
                names(&set),
                [vec!["cat/a.png", "dog/b.png"], vec!["dog/c.png"]]
            );
            assert_eq!(set.test.labels, [1]);
        }
        remove(&folder);
    }

    #[test]
    fn a_folder_with_cifar_10_files_is_read_as_cifar_10_only() {
        let record = |label: u8| [vec![label], vec![7; 3072]].concat();
        let folder = temporary_folder("cifar10");
        write_files(
            &folder,
            &[
                ("data_batch_1.bin", record(3)),
                ("test_batch.bin", record(5)),
                ("batches.meta.txt", b"a\nb\nc\nd\ne\nf\n\n".to_vec()),
                ("images/cat/a.png", picture()),
            ],
        );
        let set = open_set(&folder).expect("a set");
        assert_eq!(
            names(&set),
            [vec!["data_batch_1.bin#0"], vec!["test_batch.bin#0"]]
        );
        assert_eq!((set.training.labels[0], set.training.classes.len()), (3, 6));
        let single_file = open_set(&folder.join("test_batch.bin")).expect("a set");
        assert_eq!((single_file.training.len(), single_file.test.len()), (0, 1));

        write_files(&folder, &[("data_batch_1.bin", record(3)[..3000].to_vec())]);
        let error = open_set(&folder).expect_err("a truncated file");
        let path = folder.join("data_batch_1.bin");
        assert_eq!(
            error.to_string(),
            format!(
                "{}: got 3000 bytes, expected CIFAR-10 records of 3073 bytes; download the file again",
                path.display()
            )
        );
        remove(&folder);
    }

    #[test]
    fn invalid_picture_sets_have_messages() {
        let folder = temporary_folder("wrong");
        write_files(
            &folder,
            &[
                ("a.png", picture()),
                ("flat/a.png", picture()),
                ("truncated.zip", b"PK".to_vec()),
            ],
        );
        let cases = [
            ("nowhere", "no such file or folder"),
            (
                "flat",
                "no classes; put the pictures of each class in a separate folder",
            ),
            ("a.png", "not a folder, a .zip or a CIFAR-10 file; "),
            ("truncated.zip", "invalid zip ("),
        ];
        for (name, message) in cases {
            let path = folder.join(name);
            let error = open_set(&path).expect_err(name).to_string();
            let start = format!("{}: {message}", path.display());
            assert!(error.starts_with(&start), "{error}");
        }
        remove(&folder);
    }
}
