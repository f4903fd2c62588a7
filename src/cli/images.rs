//! Labelled pictures of all the forms that a person keeps them in -> 32x32.

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
        small::{PictureSet, Pictures, shrink},
    },
};
use rayon::prelude::*;

use super::files::{Outcome, entries, file_name, read};

/// More than this in one file of a zip is no picture that can be opened here.
const MAX_FILE: u64 = 256 << 20;

/// Reads CIFAR-10's files, a folder or a zip for each class, or one zip with folders; with `train` and `test` apart, or training alone.
///
/// What is no picture is left out, and the person is told.
pub fn open(path: &Path) -> Outcome<PictureSet> {
    if let Some(set) = cifar10(path)? {
        return Ok(set);
    }
    let shown = path.display();
    let mut found = Found::default();
    if path.is_dir() {
        found.folders(path)?;
    } else if is_zip(path) {
        found.zip(path)?;
    } else if path.exists() {
        return Err(format!(
            "{shown}: neither a folder, a .zip nor a file of CIFAR-10; give a folder with a folder of pictures for each class"
        )
        .into());
    } else {
        return Err(format!("{shown}: no such file or folder").into());
    }
    if found.classes.is_empty() {
        return Err(format!(
            "{shown}: no classes; put the pictures of each class in a folder of their own"
        )
        .into());
    }
    found.decode()
}

/// The set of CIFAR-10's files at a path: a file of its versions, or a folder of them; none where it is something else.
pub fn cifar10(path: &Path) -> Outcome<Option<PictureSet>> {
    let files = if path.is_dir() {
        cifar10_files(path)?
    } else if path.is_file() && is_part(path) {
        let metas = ["batches.meta.txt", "batches.meta"].map(|meta| path.with_file_name(meta));
        let metas = metas.into_iter().filter(|meta| {
            // A version's own names; a tarball has them inside.
            let binary = path.extension().is_some();
            meta.extension().is_some() == binary && meta.is_file()
        });
        let beside = metas.filter(|_| !cifar10::is_tarball(&own_name(path)));
        beside.chain([path.to_path_buf()]).collect()
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

/// A folder's files of CIFAR-10, class names first: those in it, those in the folder that a tarball unpacks to, or its tarballs.
fn cifar10_files(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let within = |folder: &Path| -> Outcome<Vec<PathBuf>> {
        let mut files = entries(folder)?;
        files.retain(|path| path.is_file());
        if !files.iter().any(|path| cifar10::is_batch(&own_name(path))) {
            return Ok(Vec::new());
        }
        let (metas, rest): (Vec<_>, Vec<_>) = files
            .into_iter()
            .partition(|path| cifar10::is_meta(&own_name(path)));
        let batches = rest
            .into_iter()
            .filter(|path| cifar10::is_batch(&own_name(path)));
        Ok(metas.into_iter().chain(batches).collect())
    };
    let mut places = vec![folder.to_path_buf()];
    places.extend(["cifar-10-batches-bin", "cifar-10-batches-py"].map(|name| folder.join(name)));
    for place in places.iter().filter(|place| place.is_dir()) {
        let files = within(place)?;
        if !files.is_empty() {
            return Ok(files);
        }
    }
    let mut tarballs = entries(folder)?;
    tarballs.retain(|path| {
        let name = own_name(path);
        cifar10::is_tarball(&name) && name.starts_with("cifar-10-")
    });
    Ok(tarballs)
}

/// Whether a file's name is one of CIFAR-10's.
fn is_part(path: &Path) -> bool {
    let name = own_name(path);
    cifar10::is_batch(&name) || cifar10::is_tarball(&name)
}

/// A path's last part as it is given; a link's own, not its target's.
fn own_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// What a folder's name says of the classes in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Training,
    Test,
    /// Such as `validation`, which nobody here asks for.
    Other,
}

fn part(name: &str) -> Option<Part> {
    match name.to_lowercase().as_str() {
        "train" | "training" => Some(Part::Training),
        "test" | "testing" => Some(Part::Test),
        "val" | "valid" | "validation" => Some(Part::Other),
        _ => None,
    }
}

/// Pictures and where they lie, with their classes, of which some may have none.
#[derive(Default)]
struct Found {
    classes: Vec<String>,
    items: Vec<Item>,
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
    Zip(usize, Entry),
}

/// A file in a zip.
#[derive(Clone)]
struct Entry {
    folders: Vec<String>,
    /// Empty for a folder.
    file: String,
    place: zip::Entry,
}

impl Found {
    /// A folder with classes, or with `train` and `test`, each with classes.
    fn folders(&mut self, folder: &Path) -> Outcome {
        let inside = entries(folder)?;
        let parts = inside
            .iter()
            .filter(|path| path.is_dir())
            .filter_map(|path| Some((part(&file_name(path))?, path)));
        let parts: Vec<_> = parts.collect();
        if !parts.iter().any(|(part, _)| *part == Part::Training) {
            return self.class_folders(folder, false);
        }
        for (wanted, test) in [(Part::Training, false), (Part::Test, true)] {
            for (_, folder) in parts.iter().filter(|(part, _)| *part == wanted) {
                self.class_folders(folder, test)?;
            }
        }
        Ok(())
    }

    /// A folder with a folder or a zip for each class.
    fn class_folders(&mut self, folder: &Path, test: bool) -> Outcome {
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
                let (zip, list) = self.open_zip(&path)?;
                for entry in list.into_iter().filter(|entry| !entry.file.is_empty()) {
                    self.zipped(test, class.clone(), zip, entry);
                }
                self.classes.push(class);
            }
        }
        Ok(())
    }

    /// A zip with a folder for each class, or with `train` and `test`, each with classes.
    fn zip(&mut self, path: &Path) -> Outcome {
        let (zip, list) = self.open_zip(path)?;
        let part_of = |entry: &Entry| {
            let above = entry
                .folders
                .split_last()
                .map_or(&[][..], |(_, above)| above);
            above.iter().find_map(|name| part(name))
        };
        let split = list
            .iter()
            .any(|entry| part_of(entry) == Some(Part::Training));
        for entry in &list {
            let test = match part_of(entry) {
                _ if !split => false,
                Some(Part::Training) => false,
                Some(Part::Test) => true,
                _ => continue,
            };
            let Some(class) = entry.folders.last().cloned() else {
                eprintln!("left out: {}: it is in no class's folder", entry.file);
                continue;
            };
            if !entry.file.is_empty() {
                self.classes.push(class.clone());
                self.zipped(test, class, zip, entry.clone());
                continue;
            }
            // A folder without anything in it is a class without pictures.
            let inside = |other: &Entry| {
                other.folders.starts_with(&entry.folders)
                    && (other.folders.len() > entry.folders.len() || !other.file.is_empty())
            };
            if part(&class).is_none() && !list.iter().any(inside) {
                self.classes.push(class);
            }
        }
        self.classes.sort();
        Ok(())
    }

    fn zipped(&mut self, test: bool, class: String, zip: usize, entry: Entry) {
        self.items.push(Item {
            test,
            name: format!("{class}/{}", entry.file),
            class,
            source: Source::Zip(zip, entry),
        });
    }

    /// Keeps a zip's bytes, and lists what is in it by name.
    fn open_zip(&mut self, path: &Path) -> Outcome<(usize, Vec<Entry>)> {
        let bytes = read(path)?;
        let archive = Archive::open(&bytes).map_err(|reason| {
            let path = path.display();
            format!("{path}: not a whole zip ({reason}); save or download it again")
        })?;
        let mut list = Vec::new();
        for entry in archive.entries() {
            let mut folders: Vec<_> = entry.name.split('/').map(String::from).collect();
            let file = folders.pop().unwrap_or_default();
            let hidden = |name: &String| name.starts_with('.') || name == "__MACOSX";
            if !folders.iter().chain([&file]).any(hidden) {
                list.push(Entry {
                    folders,
                    file,
                    place: entry.clone(),
                });
            }
        }
        list.sort_by(|a, b| (&a.folders, &a.file).cmp(&(&b.folders, &b.file)));
        self.zips.push(bytes);
        Ok((self.zips.len() - 1, list))
    }

    fn decode(self) -> Outcome<PictureSet> {
        let zips = self.zips.iter().map(|bytes| Archive::open(bytes));
        let zips: Vec<_> = zips.collect::<Result<_, _>>()?;
        let shrunk: Vec<_> = self
            .items
            .par_iter()
            .map(|item| {
                let bytes = match &item.source {
                    Source::File(path) => match fs::read(path) {
                        Ok(bytes) => Ok(Cow::Owned(bytes)),
                        Err(error) => Err(error.to_string()),
                    },
                    Source::Zip(zip, entry) => zips[*zip]
                        .read_entry(&entry.place, MAX_FILE)
                        .map_err(|reason| format!("{reason}; zip it again")),
                };
                let pixels = Pixels::decode(&bytes?).map_err(|error| error.to_string())?;
                Ok::<_, String>(shrink(&pixels))
            })
            .collect();
        let mut classes = Pictures::default();
        for class in &self.classes {
            classes.class(class);
        }
        let mut set = PictureSet {
            test: classes.clone(),
            training: classes,
        };
        for (item, planes) in self.items.into_iter().zip(shrunk) {
            let pictures = if item.test {
                &mut set.test
            } else {
                &mut set.training
            };
            match planes {
                Ok(planes) => {
                    let label = pictures.class(&item.class);
                    pictures.push(item.name, label, &planes);
                }
                Err(error) => eprintln!("left out: {}: {error}", item.name),
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

    /// A fresh folder for one test.
    fn fresh(test: &str) -> PathBuf {
        let name = format!("inception-web-{test}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a new folder");
        folder
    }

    fn put(folder: &Path, files: &[(&str, Vec<u8>)]) {
        for (name, bytes) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a new folder");
            fs::write(path, bytes).expect("a new file");
        }
    }

    fn zip(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
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

    /// Names of the training pictures, and of the test pictures.
    fn names(set: &PictureSet) -> [Vec<&str>; 2] {
        [&set.training, &set.test].map(|part| part.names.iter().map(String::as_str).collect())
    }

    #[test]
    fn a_folder_or_zip_per_class_is_training_alone_and_broken_pictures_are_left_out() {
        let folder = fresh("classes");
        put(
            &folder,
            &[
                ("cat/a.png", picture()),
                ("cat/notes.txt", b"notes".to_vec()),
                (
                    "frog.zip",
                    zip(&[("any/b.png", picture()), ("c.png", picture())]),
                ),
            ],
        );
        fs::create_dir_all(folder.join("dog")).expect("an empty class");
        let set = open(&folder).expect("a set");
        assert_eq!(set.training.classes, ["cat", "dog", "frog"]);
        assert_eq!(set.test.classes, set.training.classes);
        assert_eq!(
            names(&set),
            [vec!["cat/a.png", "frog/c.png", "frog/b.png"], vec![]]
        );
        assert_eq!(set.training.counts(), [1, 0, 2]);
        fs::remove_dir_all(folder).expect("it goes");
    }

    #[test]
    fn folders_to_train_and_to_test_on_are_told_by_name_in_a_folder_and_in_a_zip() {
        let files = [
            ("set/train/cat/a.png", picture()),
            ("set/train/dog/b.png", picture()),
            ("set/Test/dog/c.png", picture()),
            ("set/val/cat/d.png", picture()),
            ("set/train/empty/", Vec::new()),
        ];
        let folder = fresh("parts");
        put(&folder, &files[..4]);
        put(&folder, &[("set.zip", zip(&files))]);
        let from_folder = open(&folder.join("set")).expect("a set");
        let from_zip = open(&folder.join("set.zip")).expect("a set");
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
        fs::remove_dir_all(folder).expect("it goes");
    }

    #[test]
    fn a_folder_with_cifar_10_s_files_is_those_and_nothing_else() {
        let record = |label: u8| [vec![label], vec![7; 3072]].concat();
        let folder = fresh("cifar10");
        put(
            &folder,
            &[
                ("data_batch_1.bin", record(3)),
                ("test_batch.bin", record(5)),
                ("batches.meta.txt", b"a\nb\nc\nd\ne\nf\n\n".to_vec()),
                ("images/cat/a.png", picture()),
            ],
        );
        let set = open(&folder).expect("a set");
        assert_eq!(
            names(&set),
            [vec!["data_batch_1.bin#0"], vec!["test_batch.bin#0"]]
        );
        assert_eq!((set.training.labels[0], set.training.classes.len()), (3, 6));
        let one = open(&folder.join("test_batch.bin")).expect("a set");
        assert_eq!((one.training.len(), one.test.len()), (0, 1));

        put(&folder, &[("data_batch_1.bin", record(3)[..3000].to_vec())]);
        let error = open(&folder).expect_err("it is cut off");
        let path = folder.join("data_batch_1.bin");
        assert_eq!(
            error.to_string(),
            format!(
                "{}: 3000 bytes are not whole CIFAR-10 records of 3073; get the file again",
                path.display()
            )
        );
        fs::remove_dir_all(folder).expect("it goes");
    }

    #[test]
    fn what_is_no_set_gets_a_sentence() {
        let folder = fresh("wrong");
        put(
            &folder,
            &[
                ("a.png", picture()),
                ("flat/a.png", picture()),
                ("cut.zip", b"PK".to_vec()),
            ],
        );
        let cases = [
            ("nowhere", "no such file or folder"),
            (
                "flat",
                "no classes; put the pictures of each class in a folder of their own",
            ),
            ("a.png", "neither a folder, a .zip nor a file of CIFAR-10; "),
            ("cut.zip", "not a whole zip ("),
        ];
        for (name, message) in cases {
            let path = folder.join(name);
            let error = open(&path).expect_err(name).to_string();
            let start = format!("{}: {message}", path.display());
            assert!(error.starts_with(&start), "{error}");
        }
        fs::remove_dir_all(folder).expect("it goes");
    }
}
