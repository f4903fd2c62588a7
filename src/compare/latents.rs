//! The latents that transfer learning reads, by the pictures' hashes.

use std::{collections::HashMap, rc::Rc};

use serde::Serialize;

use crate::{
    compare::split::place,
    head::latents::{BaseId, Latents},
    image::small::PictureSet,
};

/// Latents of pictures by the hash of their pixels, so that no picture is read twice.
pub struct LatentCache {
    latents: Latents,
    places: HashMap<String, usize>,
}

impl LatentCache {
    /// Nothing yet, by a base.
    pub fn new(base: BaseId) -> LatentCache {
        LatentCache {
            latents: Latents::new(base, vec!["picture".into()]),
            places: HashMap::new(),
        }
    }

    /// A table whose names are hashes, as [`LatentCache::latents`] gives it.
    pub fn of(latents: Latents) -> LatentCache {
        let places = latents.names.iter().cloned().zip(0..).collect();
        LatentCache { latents, places }
    }

    /// Takes a picture's latents.
    pub fn insert(&mut self, hash: String, latents: &[f32]) {
        if !self.places.contains_key(&hash) {
            self.places.insert(hash.clone(), self.latents.len());
            self.latents.push(hash, 0, latents);
        }
    }

    /// All of them, named by their hashes.
    pub fn latents(&self) -> &Latents {
        &self.latents
    }

    /// Those of a set's rows that are not there yet.
    pub fn missing(&self, set: &PictureSet, rows: impl IntoIterator<Item = usize>) -> Vec<usize> {
        rows.into_iter()
            .filter(|row| self.place(set, *row).is_none())
            .collect()
    }

    pub(super) fn place(&self, set: &PictureSet, row: usize) -> Option<usize> {
        let (pictures, row) = place(set, row);
        self.places.get(&pictures.hash(row)).copied()
    }
}

/// What reading pictures by Inception took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ExtractionCost {
    /// Pictures read for this comparison.
    pub pictures: usize,
    /// Pictures whose latents were there from before.
    pub kept: usize,
    /// For all those read.
    pub seconds: f64,
}

/// What transfer needs: latents of all pictures of the split, and what they cost.
#[derive(Clone)]
pub struct Extraction {
    /// Has to hold every picture of the split.
    pub known: Rc<LatentCache>,
    /// What it took to read those that were not there.
    pub extraction: ExtractionCost,
    /// For one picture alone, from its pixels to its latents.
    pub milliseconds: f64,
}
