//! The labelled table of latents and its file form, `latents.safetensors`, stamped with the base's fingerprint.
//!
//! Tensors: `latents` [N, 2048] f32, f16, or u8 with `latents.scale` and `latents.min` `[2048]` (value = u8 x scale + min); `labels` `[N]`
//! i64. Metadata: `classes` and `names` (JSON lists), `fingerprint`, `base`. Python's `safetensors` reads it.

use crate::{
    container::{self, Container, Dtype, Stored, json},
    error::Error,
    inception::LATENTS,
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

    /// Joins a table of the same base and the same classes in the same order.
    ///
    /// # Errors
    /// Another base, or other classes.
    pub fn append(&mut self, other: Latents) -> Result<(), Error> {
        other.stamp.must_be(&self.stamp, WHAT)?;
        if other.classes != self.classes {
            return Err(Error::Setting {
                name: "classes of the second latents file",
                got: other.classes.join(", "),
                want: "the same classes in the same order as in the first",
            });
        }
        self.names.extend(other.names);
        self.labels.extend(other.labels);
        self.values.extend(other.values);
        Ok(())
    }

    /// Parts the table in two: every `nth` row of each class into the second, the others into the first.
    pub fn split(self, nth: usize) -> (Latents, Latents) {
        let empty = || Latents::new(self.stamp.clone(), self.classes.clone());
        let (mut most, mut held_out) = (empty(), empty());
        let mut seen = vec![0usize; self.classes.len()];
        for (row, (name, label)) in self.names.iter().zip(&self.labels).enumerate() {
            let count = &mut seen[usize::try_from(*label).expect("labels were checked when read")];
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

    /// Reads `latents.safetensors`, whole or not at all.
    ///
    /// # Errors
    /// A truncated or foreign file, wrong shapes, numbers that are not finite, labels outside the classes.
    pub fn read(bytes: &[u8]) -> Result<Latents, Error> {
        let container = Container::open(WHAT, COMMAND, bytes)?;
        let stamp = Stamp::read(&container)?;
        let classes: Vec<String> = container.json("classes", "a list of names")?;
        let names: Vec<String> = container.json("names", "a list of names")?;
        let rows = container
            .any("labels")?
            .shape()
            .first()
            .copied()
            .unwrap_or(0);
        let labels = container.integers("labels", &[rows])?;
        let values = container.affine_floats("latents", &[rows, LATENTS], 1)?;
        if names.len() != rows {
            let got = format!("{} names", names.len());
            return Err(Error::Metadata {
                what: WHAT,
                key: "names",
                got,
                want: "one name for each row",
            });
        }
        let stray = labels
            .iter()
            .position(|label| usize::try_from(*label).map_or(true, |l| l >= classes.len()));
        if let Some(row) = stray {
            return Err(Error::Label {
                label: labels[row],
                row,
                classes: classes.len(),
            });
        }
        Ok(Latents {
            stamp,
            classes,
            names,
            labels,
            values,
        })
    }
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
