//! Small labelled pictures, 32x32, to train on and to test on.
//!
//! Here they lie as bytes, as CIFAR-10 has them: a red, a green and a blue plane each. Files of all forms are read elsewhere
//! ([`cifar10`](crate::image::cifar10), the command line, the page).

use image::{
    ImageBuffer, Rgb,
    imageops::{FilterType, resize},
};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use sha2::{Digest, Sha256};

use crate::{format::hex, image::Pixels};

/// Pixels a side.
pub const SIDE: usize = 32;
/// Values a picture.
pub const VALUES: usize = 3 * PLANE;
/// Values a plane.
const PLANE: usize = SIDE * SIDE;

/// Pictures with names and labels, row by row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pictures {
    /// Class names; a label is a place here.
    pub classes: Vec<String>,
    /// Each picture's name.
    pub names: Vec<String>,
    /// Each picture's class.
    pub labels: Vec<usize>,
    /// [N, 3, 32, 32], row-major: red, green and blue planes, 0 to 255.
    pub pixels: Vec<u8>,
}

/// What is trained on and what is tested on; both list the same classes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PictureSet {
    /// Pictures to train on.
    pub training: Pictures,
    /// Pictures to test on; may be empty.
    pub test: Pictures,
}

impl Pictures {
    /// No pictures yet.
    pub fn new(classes: Vec<String>) -> Pictures {
        Pictures {
            classes,
            ..Pictures::default()
        }
    }

    /// How many pictures there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no picture.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// One picture's planes, [3, 32, 32].
    pub fn row(&self, row: usize) -> &[u8] {
        &self.pixels[row * VALUES..][..VALUES]
    }

    /// The label of the class of this name, which is made where it is missing.
    pub fn class(&mut self, name: &str) -> usize {
        let known = self.classes.iter().position(|class| class == name);
        known.unwrap_or_else(|| {
            self.classes.push(name.into());
            self.classes.len() - 1
        })
    }

    /// Adds a picture.
    ///
    /// # Shapes
    /// `planes`: [3, 32, 32].
    pub fn push(&mut self, name: impl Into<String>, label: usize, planes: &[u8]) {
        assert!(label < self.classes.len(), "a label names a class");
        assert_eq!(planes.len(), VALUES, "a picture is [3, 32, 32]");
        self.names.push(name.into());
        self.labels.push(label);
        self.pixels.extend_from_slice(planes);
    }

    /// Adds a picture of any size to a class, which is made where it is missing.
    pub fn push_picture(&mut self, class: &str, name: impl Into<String>, pixels: &Pixels) {
        let label = self.class(class);
        self.push(name, label, &shrink(pixels));
    }

    /// Adds pictures; classes of one name become one.
    pub fn append(&mut self, other: Pictures) {
        let labels: Vec<_> = other.classes.iter().map(|name| self.class(name)).collect();
        self.names.extend(other.names);
        self.labels
            .extend(other.labels.iter().map(|label| labels[*label]));
        self.pixels.extend(other.pixels);
    }

    /// The SHA-256 of a picture's planes, in hexadecimal digits.
    pub fn hash(&self, row: usize) -> String {
        hex(&Sha256::digest(self.row(row)))
    }

    /// How many pictures each class has.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for label in &self.labels {
            counts[*label] += 1;
        }
        counts
    }

    /// A class's mean picture, [3, 32, 32]; none of a class without pictures.
    pub fn mean(&self, class: usize) -> Option<Vec<u8>> {
        let mut sums = vec![0u64; VALUES];
        let mut count = 0;
        for row in (0..self.len()).filter(|row| self.labels[*row] == class) {
            count += 1;
            for (sum, value) in sums.iter_mut().zip(self.row(row)) {
                *sum += u64::from(*value);
            }
        }
        let mean = |sum: u64| ((sum + count / 2) / count) as u8;
        (count > 0).then(|| sums.into_iter().map(mean).collect())
    }

    /// A picture for a canvas, [32, 32, 4].
    pub fn rgba(&self, row: usize) -> Vec<u8> {
        rgba(self.row(row))
    }

    /// A picture as one that was decoded from a file.
    pub fn as_pixels(&self, row: usize) -> Pixels {
        Pixels::from_rgba(SIDE as u32, SIDE as u32, &self.rgba(row)).expect("32x32 pixels")
    }

    /// At most `per_class` of these rows of each class (0: all of them), chosen by the seed.
    ///
    /// They come in turns, one of each class; so fewer of the same seed are the first of more, and learning curves nest.
    pub fn draw(&self, rows: &[usize], per_class: usize, seed: u64) -> Vec<usize> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut classes = vec![Vec::new(); self.classes.len()];
        for row in rows {
            classes[self.labels[*row]].push(*row);
        }
        for rows in &mut classes {
            rows.shuffle(&mut rng);
        }
        let most = classes.iter().map(Vec::len).max().unwrap_or(0);
        let turns = if per_class == 0 {
            most
        } else {
            most.min(per_class)
        };
        let turn = |turn| {
            classes
                .iter()
                .filter_map(move |rows: &Vec<_>| rows.get(turn))
        };
        (0..turns).flat_map(turn).copied().collect()
    }
}

impl PictureSet {
    /// The SHA-256 of classes, labels and pixels, in hexadecimal digits; names do not count.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        let count = |hash: &mut Sha256, count: usize| hash.update((count as u64).to_le_bytes());
        count(&mut hash, self.training.classes.len());
        for class in &self.training.classes {
            count(&mut hash, class.len());
            hash.update(class);
        }
        for pictures in [&self.training, &self.test] {
            count(&mut hash, pictures.len());
            for label in &pictures.labels {
                count(&mut hash, *label);
            }
            hash.update(&pictures.pixels);
        }
        hex(&hash.finalize())
    }
}

/// A picture stretched to 32x32, antialiased, as planes [3, 32, 32]; one of 32x32 stays as it is.
pub fn shrink(pixels: &Pixels) -> Vec<u8> {
    let side = SIDE as u32;
    let small = match (pixels.width(), pixels.height()) {
        (SIDE, SIDE) => pixels.rgb().to_vec(),
        (width, height) => {
            let whole =
                ImageBuffer::<Rgb<u8>, _>::from_raw(width as u32, height as u32, pixels.rgb());
            let whole = whole.expect("three values a pixel");
            resize(&whole, side, side, FilterType::Triangle).into_raw()
        }
    };
    let channel = |c| small.iter().skip(c).step_by(3);
    (0..3).flat_map(channel).copied().collect()
}

/// Planes [3, 32, 32] for a canvas, [32, 32, 4].
pub fn rgba(planes: &[u8]) -> Vec<u8> {
    let pixel = |p| [planes[p], planes[PLANE + p], planes[2 * PLANE + p], 255];
    (0..PLANE).flat_map(pixel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(classes: &[&str], labels: &[usize]) -> Pictures {
        let mut pictures = Pictures::new(classes.iter().map(|class| (*class).into()).collect());
        for (row, label) in labels.iter().enumerate() {
            pictures.push(format!("{row}"), *label, &[row as u8; VALUES]);
        }
        pictures
    }

    #[test]
    fn a_picture_of_32_stays_as_it_is() {
        let planes: Vec<u8> = (0..VALUES).map(|i| (i * 7 % 251) as u8).collect();
        let mut pictures = Pictures::new(vec!["cat".into()]);
        pictures.push("a", 0, &planes);
        let pixels = pictures.as_pixels(0);
        pictures.push_picture("dog", "b", &pixels);
        assert_eq!(pictures.row(1), planes);
        assert_eq!(pictures.classes, ["cat", "dog"]);
        assert_eq!(
            pictures.rgba(0)[4..8],
            [planes[1], planes[PLANE + 1], planes[2 * PLANE + 1], 255]
        );
    }

    #[test]
    fn a_larger_picture_is_averaged_not_sampled() {
        // Black and white columns by turns: every small pixel is grey.
        let rgba: Vec<u8> = (0..320 * 64)
            .flat_map(|p| [[0, 0, 0, 255], [255; 4]][p % 2])
            .collect();
        let pixels = Pixels::from_rgba(320, 64, &rgba).expect("pixels");
        let small = shrink(&pixels);
        assert!(
            small.iter().all(|value| value.abs_diff(127) <= 4),
            "{:?}",
            &small[..32]
        );
    }

    #[test]
    fn appending_joins_classes_by_name() {
        let mut pictures = plain(&["cat", "dog"], &[0, 1]);
        pictures.append(plain(&["frog", "cat"], &[0, 1]));
        assert_eq!(pictures.classes, ["cat", "dog", "frog"]);
        assert_eq!(pictures.labels, [0, 1, 2, 0]);
        assert_eq!(pictures.counts(), [2, 1, 1]);
        assert_eq!(pictures.pixels.len(), 4 * VALUES);
    }

    #[test]
    fn a_mean_is_rounded_and_of_its_class_alone() {
        let pictures = plain(&["cat", "dog", "none"], &[0, 1, 1]);
        assert_eq!(pictures.mean(0), Some(vec![0; VALUES]));
        // Of 1 and 2.
        assert_eq!(pictures.mean(1), Some(vec![2; VALUES]));
        assert_eq!(pictures.mean(2), None);
    }

    #[test]
    fn a_smaller_draw_is_the_start_of_a_larger_one() {
        let labels: Vec<usize> = (0..90).map(|row| usize::from(row % 3 == 0)).collect();
        let pictures = plain(&["most", "few"], &labels);
        let rows: Vec<usize> = (0..80).collect();
        let draw = |per_class, seed| pictures.draw(&rows, per_class, seed);
        let (small, large, all) = (draw(5, 1), draw(40, 1), draw(0, 1));
        assert_eq!(small.len(), 10);
        assert_eq!(large[..10], small);
        // 27 of the rows are of the second class, 53 of the first.
        assert_eq!(large.len(), 67);
        assert_eq!(all[..67], large);
        let mut sorted = all.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, rows);
        assert_eq!(draw(5, 1), small);
        assert_ne!(draw(5, 2), small);
    }

    #[test]
    fn the_hash_is_of_what_is_learnt_and_not_of_names() {
        let set = |training: Pictures| PictureSet {
            test: Pictures::new(training.classes.clone()),
            training,
        };
        let first = set(plain(&["cat", "dog"], &[0, 1]));
        let mut renamed = first.clone();
        renamed.training.names[0] = "other".into();
        assert_eq!(renamed.sha256(), first.sha256());
        assert_ne!(
            set(plain(&["cat", "dog"], &[1, 0])).sha256(),
            first.sha256()
        );
        assert_ne!(
            set(plain(&["ca", "tdog"], &[0, 1])).sha256(),
            first.sha256()
        );
        let swapped = PictureSet {
            training: first.test.clone(),
            test: first.training.clone(),
        };
        assert_ne!(swapped.sha256(), first.sha256());
        assert_eq!(first.training.hash(0), hex(&Sha256::digest([0; VALUES])));
    }
}
