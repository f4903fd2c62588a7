//! The labelled table of latents and its two file forms, `latents.safetensors` and NumPy's `latents.npz`, stamped with the base's
//! fingerprint.
//!
//! Tensors or arrays: `latents` [N, 2048] of floats, `labels` `[N]` of integers. safetensors: in the metadata `classes` and `names` (JSON
//! lists), `fingerprint`, `base`; `latents` also as u8 with `latents.scale` and `latents.min` `[2048]` (value = u8 x scale + min). npz:
//! `classes` `[K]`, `names` `[N]`, `fingerprint`, `base` as arrays of text. Other people's files need only latents, labels and classes.

use std::collections::HashSet;

use crate::{
    container::{self, Container, Dtype, Stored, json},
    error::Error,
    inception::LATENTS,
    npz::{self, Npz},
};

const WHAT: &str = "latents";
const COMMAND: &str = "extract";

/// The base that latents or a head were made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The base's short name.
    pub base: String,
    /// The base's fingerprint, 64 hexadecimal digits.
    pub fingerprint: String,
}

impl Stamp {
    pub(crate) fn read(container: &Container) -> Result<Stamp, Error> {
        Ok(Stamp {
            // Other people's files need only say which base it was, not what it is called.
            base: container.text("base").unwrap_or("unnamed").into(),
            fingerprint: container.text("fingerprint")?.into(),
        })
    }

    pub(crate) fn metadata(&self) -> [(String, String); 2] {
        [
            ("base".into(), self.base.clone()),
            ("fingerprint".into(), self.fingerprint.clone()),
        ]
    }

    /// Refuses what another base made.
    ///
    /// # Errors
    /// Names both bases.
    pub fn must_be(&self, ours: &Stamp, what: &'static str) -> Result<(), Error> {
        if self.fingerprint == ours.fingerprint {
            return Ok(());
        }
        let short = |stamp: &Stamp| stamp.fingerprint.chars().take(12).collect();
        Err(Error::OtherBase {
            what,
            theirs: self.base.clone(),
            their_fingerprint: short(self),
            ours: ours.base.clone(),
            our_fingerprint: short(ours),
        })
    }
}

/// Pictures as the head sees them, with their classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Latents {
    /// The base that computed them.
    pub stamp: Stamp,
    /// The classes' names.
    pub classes: Vec<String>,
    /// The pictures' names, one a row.
    pub names: Vec<String>,
    /// An index into `classes`, one a row.
    pub labels: Vec<i64>,
    /// [N, 2048], row-major.
    pub values: Vec<f32>,
}

impl Latents {
    /// An empty table.
    pub fn new(stamp: Stamp, classes: Vec<String>) -> Latents {
        Latents {
            stamp,
            classes,
            names: Vec::new(),
            labels: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// One picture's latents, `[2048]`.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * LATENTS..][..LATENTS]
    }

    /// Appends a picture.
    pub fn push(&mut self, name: String, label: i64, latents: &[f32]) {
        assert_eq!(latents.len(), LATENTS, "latents of {name}");
        self.names.push(name);
        self.labels.push(label);
        self.values.extend_from_slice(latents);
    }

    /// Joins a table of the same base. Classes are the same by name; those that are new come behind.
    ///
    /// # Errors
    /// Another base.
    pub fn append(&mut self, other: Latents) -> Result<(), Error> {
        other.stamp.must_be(&self.stamp, WHAT)?;
        let mut place = |class: String| {
            let known = self.classes.iter().position(|known| *known == class);
            known.unwrap_or_else(|| {
                self.classes.push(class);
                self.classes.len() - 1
            }) as i64
        };
        let places: Vec<_> = other.classes.into_iter().map(&mut place).collect();
        let moved = |label: i64| places[index(label)];
        self.names.extend(other.names);
        self.labels.extend(other.labels.into_iter().map(moved));
        self.values.extend(other.values);
        Ok(())
    }

    /// Parts the table in two: every `nth` row of each class into the second, the others into the first.
    pub fn split(self, nth: usize) -> (Latents, Latents) {
        let empty = || Latents::new(self.stamp.clone(), self.classes.clone());
        let (mut most, mut held_out) = (empty(), empty());
        let mut seen = vec![0usize; self.classes.len()];
        for (row, (name, label)) in self.names.iter().zip(&self.labels).enumerate() {
            let count = &mut seen[index(*label)];
            *count += 1;
            let part = if count.is_multiple_of(nth) {
                &mut held_out
            } else {
                &mut most
            };
            part.push(name.clone(), *label, self.row(row));
        }
        (most, held_out)
    }

    /// The bytes of `latents.safetensors`.
    pub fn write(&self, dtype: Dtype) -> Vec<u8> {
        let shape = [self.len(), LATENTS];
        let mut tensors = vec![("labels".to_string(), Stored::i64(&shape[..1], &self.labels))];
        tensors.extend(container::floats("latents", &shape, &self.values, 1, dtype));
        let metadata = self.stamp.metadata().into_iter().chain([
            ("classes".to_string(), json(&self.classes)),
            ("names".to_string(), json(&self.names)),
        ]);
        container::write(&tensors, metadata.collect())
    }

    /// The bytes of `latents.npz`, which `np.load` reads without pickle.
    pub fn write_npz(&self) -> Vec<u8> {
        let mut npz = npz::Writer::new();
        npz.floats("latents", &[self.len(), LATENTS], &self.values);
        npz.integers("labels", &[self.len()], &self.labels);
        npz.texts("classes", &self.classes);
        npz.texts("names", &self.names);
        for (key, value) in self.stamp.metadata() {
            npz.text(&key, &value);
        }
        npz.finish()
    }

    /// Reads `latents.safetensors` or `latents.npz`, whole or not at all: the table, and a sentence that is worth telling, if any.
    ///
    /// `base` is what the latents must be of, and what those are taken to be of that do not say it. Without it any base will do.
    ///
    /// # Errors
    /// A truncated or foreign file, another base or none, wrong shapes, numbers that are not finite, labels outside the classes.
    pub fn read(bytes: &[u8], base: Option<&Stamp>) -> Result<(Latents, Option<String>), Error> {
        let parts = match Npz::is(bytes) {
            true => Parts::from_npz(bytes),
            false => Parts::from_safetensors(bytes),
        }?;
        let (stamp, notice) = match (parts.fingerprint, base) {
            (Some(fingerprint), base) => {
                let stamp = Stamp {
                    base: parts.base.unwrap_or_else(|| "unnamed".into()),
                    fingerprint,
                };
                base.map_or(Ok(()), |base| stamp.must_be(base, WHAT))?;
                (stamp, None)
            }
            (None, Some(base)) => {
                let notice = format!(
                    "the file does not say which base made its latents; they are taken to be of the base here, {:?}",
                    base.base
                );
                (base.clone(), Some(notice))
            }
            (None, None) => return Err(Error::UnknownBase),
        };
        let rows = parts.labels.len();
        if rows == 0 {
            return Err(Error::NoRows);
        }
        let numbered = || (1..=rows).map(|row| format!("row {row}")).collect();
        let latents = Latents {
            stamp,
            classes: parts.classes,
            names: parts.names.unwrap_or_else(numbered),
            labels: parts.labels,
            values: parts.values,
        };
        latents.check()?;
        Ok((latents, notice))
    }

    /// Refuses what does not fit together.
    fn check(&self) -> Result<(), Error> {
        let finite = |value: &f32| value.is_finite();
        if let Some(index) = self.values.iter().position(|value| !finite(value)) {
            return Err(Error::NotFinite {
                what: WHAT,
                name: "latents".into(),
                index,
            });
        }
        let mut seen = HashSet::new();
        if let Some(name) = self.classes.iter().find(|class| !seen.insert(*class)) {
            return Err(Error::DuplicateClass { name: name.clone() });
        }
        if self.names.len() != self.len() {
            return Err(Error::Metadata {
                what: WHAT,
                key: "names",
                got: format!("{} names", self.names.len()),
                want: "one name for each row",
            });
        }
        let known = |label: &i64| usize::try_from(*label).is_ok_and(|l| l < self.classes.len());
        match self.labels.iter().position(|label| !known(label)) {
            Some(row) => Err(Error::Label {
                label: self.labels[row],
                row,
                classes: self.classes.len(),
            }),
            None => Ok(()),
        }
    }
}

/// A label as an index.
fn index(label: i64) -> usize {
    usize::try_from(label).expect("labels were checked when read")
}

/// What lies in a file, before it is known to fit together; there are as many labels as rows.
struct Parts {
    base: Option<String>,
    fingerprint: Option<String>,
    classes: Vec<String>,
    names: Option<Vec<String>>,
    labels: Vec<i64>,
    values: Vec<f32>,
}

impl Parts {
    fn from_safetensors(bytes: &[u8]) -> Result<Parts, Error> {
        let container = Container::open(WHAT, COMMAND, bytes)?;
        let rows = rows(container.any("latents")?.shape())?;
        let list = "a list of names";
        let text = |key| container.text(key).ok().map(String::from);
        Ok(Parts {
            labels: container.integers("labels", &[rows])?,
            classes: match container.text("classes") {
                Ok(_) => container.json("classes", list)?,
                Err(_) => return Err(Error::MissingClasses),
            },
            names: match container.text("names") {
                Ok(_) => Some(container.json("names", list)?),
                Err(_) => None,
            },
            base: text("base"),
            fingerprint: text("fingerprint"),
            values: container.affine_floats("latents", &[rows, LATENTS], 1)?,
        })
    }

    fn from_npz(bytes: &[u8]) -> Result<Parts, Error> {
        let mut npz = Npz::open(WHAT, bytes)?;
        let rows = rows(&npz.shape("latents")?)?;
        let text = |npz: &mut Npz, name| npz.has(name).then(|| npz.text(name)).transpose();
        Ok(Parts {
            labels: npz.integers("labels", &[rows])?,
            classes: npz.texts("classes", None)?,
            names: match npz.has("names") {
                true => Some(npz.texts("names", Some(rows))?),
                false => None,
            },
            base: text(&mut npz, "base")?,
            fingerprint: text(&mut npz, "fingerprint")?,
            values: npz.floats("latents", &[rows, LATENTS])?,
        })
    }
}

/// How many rows of latents a shape has.
fn rows(shape: &[usize]) -> Result<usize, Error> {
    match *shape {
        [rows, LATENTS] => Ok(rows),
        [rows, _] => Err((rows, shape)),
        _ => Err((1, shape)),
    }
    .map_err(|(rows, shape)| Error::Shape {
        what: WHAT,
        name: "latents".into(),
        want: vec![rows, LATENTS],
        got: shape.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Latents {
        let stamp = Stamp {
            base: "test".into(),
            fingerprint: "a".repeat(64),
        };
        let mut latents = Latents::new(stamp, vec!["cat".into(), "dog".into()]);
        for i in 0..10 {
            let row: Vec<f32> = (0..LATENTS).map(|c| ((i * 7 + c) % 5) as f32).collect();
            latents.push(format!("{i}.png"), i as i64 % 2, &row);
        }
        latents
    }

    #[test]
    fn tables_come_back_as_they_were() {
        // Values 0..=4 are exact in f16, and lie on an even grid, which u8 keeps.
        for dtype in [Dtype::F32, Dtype::F16, Dtype::U8] {
            assert_eq!(
                Latents::read(&table().write(dtype)).expect("our own file"),
                table(),
                "{dtype:?}"
            );
        }
    }

    #[test]
    fn split_holds_out_of_every_class() {
        let (most, held_out) = table().split(5);
        assert_eq!(
            (most.len(), held_out.names),
            (8, vec!["8.png".to_string(), "9.png".to_string()])
        );
    }

    #[test]
    fn broken_tables_are_refused_with_a_reason() {
        type Breaking = fn(&mut Latents);
        let broken = |breaking: Breaking| {
            let mut latents = table();
            breaking(&mut latents);
            Latents::read(&latents.write(Dtype::F32))
                .expect_err("broken")
                .to_string()
        };
        let cases: [(Breaking, &str); 3] = [
            (
                |t| t.labels[3] = 2,
                "latents: label 2 at row 3 names none of the 2 classes; make the file again",
            ),
            (
                |t| t.values[9] = f32::NAN,
                "latents: latents holds a number that is not finite, at index 9; make the file again",
            ),
            (
                |t| t.names.truncate(4),
                "latents: the metadata \"names\" is \"4 names\", expected one name for each row; make the file again",
            ),
        ];
        for (breaking, message) in cases {
            assert_eq!(broken(breaking), message);
        }
    }

    #[test]
    fn latents_of_another_base_do_not_join() {
        let mut other = table();
        other.stamp = Stamp {
            base: "other".into(),
            fingerprint: "b".repeat(64),
        };
        let error = table().append(other).expect_err("another base").to_string();
        assert!(
            error.starts_with("latents: made with the base \"other\" (fingerprint bbbbbbbbbbbb)"),
            "{error}"
        );
    }
}
