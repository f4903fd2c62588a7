//! Labelled data sets of 32x32 pictures, in the memory layout of CIFAR-10: planes of red, green and blue bytes.

use image::{
    ImageBuffer, Rgb,
    imageops::{FilterType, resize},
};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use sha2::{Digest, Sha256};

use super::pixels::Pixels;
use crate::format::hex;

/// Width and height in pixels.
pub const SIDE: usize = 32;
/// Values per picture.
pub const VALUES: usize = 3 * PLANE;
/// Values per plane.
const PLANE: usize = SIDE * SIDE;

/// Pictures with names and labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pictures {
    /// Class names; labels are indices into this list.
    pub classes: Vec<String>,
    /// The name of each picture.
    pub names: Vec<String>,
    /// The label of each picture.
    pub labels: Vec<usize>,
    /// Red, green and blue planes of all pictures: [N, 3, 32, 32], row-major.
    pub pixels: Vec<u8>,
}

/// A training set and a test set with the same classes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PictureSet {
    /// The training set.
    pub training: Pictures,
    /// The test set; may be empty.
    pub test: Pictures,
}

impl Pictures {
    /// Creates an empty set.
    pub fn new(classes: Vec<String>) -> Pictures {
        Pictures {
            classes,
            ..Pictures::default()
        }
    }

    /// Returns the number of pictures.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Returns whether there are no pictures.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Returns the planes of a picture.
    ///
    /// # Shapes
    /// [3, 32, 32]
    pub fn row(&self, row: usize) -> &[u8] {
        &self.pixels[row * VALUES..][..VALUES]
    }

    /// Returns the label of a class; adds the class if it is missing.
    pub fn label_of(&mut self, name: &str) -> usize {
        let label = self.classes.iter().position(|class| class == name);
        label.unwrap_or_else(|| {
            self.classes.push(name.into());
            self.classes.len() - 1
        })
    }

    /// Adds a picture.
    ///
    /// # Shapes
    /// `planes`: [3, 32, 32]
    ///
    /// # Panics
    /// If the label or the shape is invalid.
    pub fn push(&mut self, name: impl Into<String>, label: usize, planes: &[u8]) {
        let classes = self.classes.len();
        assert!(label < classes, "label {label} of {classes} classes");
        assert_eq!(planes.len(), VALUES, "number of values");
        self.names.push(name.into());
        self.labels.push(label);
        self.pixels.extend_from_slice(planes);
    }

    /// Resizes a picture of any size and adds it to a class; adds the class if it is missing.
    pub fn push_picture(&mut self, class: &str, name: impl Into<String>, pixels: &Pixels) {
        let label = self.label_of(class);
        self.push(name, label, &to_planes(pixels));
    }

    /// Adds the pictures of another set; classes are merged by name.
    pub fn append(&mut self, other: Pictures) {
        let labels: Vec<_> = other
            .classes
            .iter()
            .map(|name| self.label_of(name))
            .collect();
        self.names.extend(other.names);
        self.labels
            .extend(other.labels.iter().map(|label| labels[*label]));
        self.pixels.extend(other.pixels);
    }

    /// Returns the SHA-256 of the planes of a picture as hexadecimal digits.
    pub fn hash(&self, row: usize) -> String {
        hex(&Sha256::digest(self.row(row)))
    }

    /// Returns the number of pictures per class.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for label in &self.labels {
            counts[*label] += 1;
        }
        counts
    }

    /// Returns the mean of the pictures of a class; none if the class is empty.
    ///
    /// # Shapes
    /// [3, 32, 32]
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

    /// Returns a picture for a canvas.
    ///
    /// # Shapes
    /// [32, 32, 4]
    pub fn rgba(&self, row: usize) -> Vec<u8> {
        rgba(self.row(row))
    }

    /// Returns a picture as [`Pixels`].
    pub fn as_pixels(&self, row: usize) -> Pixels {
        Pixels::from_rgba(SIDE as u32, SIDE as u32, &self.rgba(row)).expect("32x32 pixels")
    }

    /// Draws a random sample of `per_class` rows per class (0: all rows).
    ///
    /// The classes alternate in the result. With the same seed, a smaller sample is a prefix of a larger one, so the sets of a learning
    /// curve are nested.
    pub fn draw(&self, rows: &[usize], per_class: usize, seed: u64) -> Vec<usize> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut classes = vec![Vec::new(); self.classes.len()];
        for row in rows {
            classes[self.labels[*row]].push(*row);
        }
        for rows in &mut classes {
            rows.shuffle(&mut rng);
        }
        let largest = classes.iter().map(Vec::len).max().unwrap_or(0);
        let rounds = match per_class {
            0 => largest,
            _ => largest.min(per_class),
        };
        let round = |round| {
            classes
                .iter()
                .filter_map(move |rows: &Vec<_>| rows.get(round))
        };
        (0..rounds).flat_map(round).copied().collect()
    }
}

impl PictureSet {
    /// Returns the SHA-256 of classes, labels and pixels as hexadecimal digits. Names of pictures are not included.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        let update = |hash: &mut Sha256, value: usize| hash.update((value as u64).to_le_bytes());
        update(&mut hash, self.training.classes.len());
        for class in &self.training.classes {
            update(&mut hash, class.len());
            hash.update(class);
        }
        for pictures in [&self.training, &self.test] {
            update(&mut hash, pictures.len());
            for label in &pictures.labels {
                update(&mut hash, *label);
            }
            hash.update(&pictures.pixels);
        }
        hex(&hash.finalize())
    }
}

/// Resizes a picture to 32x32 with antialiasing, without keeping the aspect ratio; a picture of 32x32 is not changed.
///
/// # Shapes
/// -> [3, 32, 32]
pub fn to_planes(pixels: &Pixels) -> Vec<u8> {
    let side = SIDE as u32;
    let small = match (pixels.width(), pixels.height()) {
        (SIDE, SIDE) => pixels.rgb().to_vec(),
        (width, height) => {
            let picture =
                ImageBuffer::<Rgb<u8>, _>::from_raw(width as u32, height as u32, pixels.rgb());
            let picture = picture.expect("three values per pixel");
            resize(&picture, side, side, FilterType::Triangle).into_raw()
        }
    };
    let channel = |c| small.iter().skip(c).step_by(3);
    (0..3).flat_map(channel).copied().collect()
}

/// Converts planes to RGBA for a canvas.
///
/// # Shapes
/// [3, 32, 32] -> [32, 32, 4]
pub fn rgba(planes: &[u8]) -> Vec<u8> {
    let pixel = |p| [planes[p], planes[PLANE + p], planes[2 * PLANE + p], 255];
    (0..PLANE).flat_map(pixel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Creates a set in which picture i has the constant value i.
    fn constant_pictures(classes: &[&str], labels: &[usize]) -> Pictures {
        let mut pictures = Pictures::new(classes.iter().map(|class| (*class).into()).collect());
        for (row, label) in labels.iter().enumerate() {
            pictures.push(format!("{row}"), *label, &[row as u8; VALUES]);
        }
        pictures
    }

    #[test]
    fn a_picture_of_32x32_is_not_changed() {
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
    fn a_larger_picture_is_resized_with_antialiasing() {
        // Alternating black and white columns; every resized pixel is grey.
        let rgba: Vec<u8> = (0..320 * 64)
            .flat_map(|p| [[0, 0, 0, 255], [255; 4]][p % 2])
            .collect();
        let pixels = Pixels::from_rgba(320, 64, &rgba).expect("pixels");
        let small = to_planes(&pixels);
        assert!(
            small.iter().all(|value| value.abs_diff(127) <= 4),
            "{:?}",
            &small[..32]
        );
    }

    #[test]
    fn append_merges_classes_by_name() {
        let mut pictures = constant_pictures(&["cat", "dog"], &[0, 1]);
        pictures.append(constant_pictures(&["frog", "cat"], &[0, 1]));
        assert_eq!(pictures.classes, ["cat", "dog", "frog"]);
        assert_eq!(pictures.labels, [0, 1, 2, 0]);
        assert_eq!(pictures.counts(), [2, 1, 1]);
        assert_eq!(pictures.pixels.len(), 4 * VALUES);
    }

    #[test]
    fn the_mean_of_a_class_is_rounded() {
        let pictures = constant_pictures(&["cat", "dog", "none"], &[0, 1, 1]);
        assert_eq!(pictures.mean(0), Some(vec![0; VALUES]));
        // (1 + 2) / 2 is rounded up.
        assert_eq!(pictures.mean(1), Some(vec![2; VALUES]));
        assert_eq!(pictures.mean(2), None);
    }

    #[test]
    fn a_smaller_sample_is_a_prefix_of_a_larger_one() {
        let labels: Vec<usize> = (0..90).map(|row| usize::from(row % 3 == 0)).collect();
        let pictures = constant_pictures(&["large", "small"], &labels);
        let rows: Vec<usize> = (0..80).collect();
        let draw = |per_class, seed| pictures.draw(&rows, per_class, seed);
        let (small, large, all) = (draw(5, 1), draw(40, 1), draw(0, 1));
        assert_eq!(small.len(), 10);
        assert_eq!(large[..10], small);
        // The second class has only 27 rows.
        assert_eq!(large.len(), 67);
        assert_eq!(all[..67], large);
        let mut sorted = all.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, rows);
        assert_eq!(draw(5, 1), small);
        assert_ne!(draw(5, 2), small);
    }

    #[test]
    fn the_hash_covers_classes_labels_and_pixels_but_not_names() {
        let set = |training: Pictures| PictureSet {
            test: Pictures::new(training.classes.clone()),
            training,
        };
        let first = set(constant_pictures(&["cat", "dog"], &[0, 1]));
        let mut renamed = first.clone();
        renamed.training.names[0] = "other".into();
        assert_eq!(renamed.sha256(), first.sha256());
        assert_ne!(
            set(constant_pictures(&["cat", "dog"], &[1, 0])).sha256(),
            first.sha256()
        );
        assert_ne!(
            set(constant_pictures(&["ca", "tdog"], &[0, 1])).sha256(),
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
