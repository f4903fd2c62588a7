//! A cache of latents for transfer learning, keyed by the hash of a picture.

use std::{collections::HashMap, rc::Rc};

use serde::Serialize;

use crate::{
    compare::split::locate,
    head::latents::{BaseId, Latents},
    image::small::PictureSet,
};

/// Latents of pictures, keyed by the hash of their pixels.
pub struct LatentCache {
    /// A table whose names are the hashes.
    latents: Latents,
    row_by_hash: HashMap<String, usize>,
}

impl LatentCache {
    /// Creates an empty cache for the latents of a base.
    pub fn new(base: BaseId) -> LatentCache {
        LatentCache::from_latents(Latents::new(base, vec!["picture".into()]))
    }

    /// Restores a cache from the result of [`LatentCache::latents`].
    pub fn from_latents(latents: Latents) -> LatentCache {
        let row_by_hash = latents.names.iter().cloned().zip(0..).collect();
        LatentCache {
            latents,
            row_by_hash,
        }
    }

    /// Adds the latents of a picture, unless they are cached already.
    pub fn insert(&mut self, hash: String, latents: &[f32]) {
        if !self.row_by_hash.contains_key(&hash) {
            self.row_by_hash.insert(hash.clone(), self.latents.len());
            self.latents.push(hash, 0, latents);
        }
    }

    /// Returns all latents, with the hashes as names.
    pub fn latents(&self) -> &Latents {
        &self.latents
    }

    /// Returns those of the given rows of a set whose latents are not cached.
    pub fn missing(&self, set: &PictureSet, rows: impl IntoIterator<Item = usize>) -> Vec<usize> {
        rows.into_iter()
            .filter(|row| self.find(set, *row).is_none())
            .collect()
    }

    /// Returns the row of a picture's latents in [`LatentCache::latents`].
    pub(super) fn find(&self, set: &PictureSet, row: usize) -> Option<usize> {
        let (pictures, row) = locate(set, row);
        self.row_by_hash.get(&pictures.hash(row)).copied()
    }
}

/// The cost of computing latents for a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ExtractionCost {
    /// Number of pictures whose latents were computed.
    pub pictures: usize,
    /// Number of pictures whose latents were cached.
    pub kept: usize,
    /// Time for all computed latents.
    pub seconds: f64,
}

/// The latents that transfer learning needs, and their cost.
#[derive(Clone)]
pub struct Extraction {
    /// Contains the latents of every picture of the split.
    pub cache: Rc<LatentCache>,
    /// Cost of the latents that were not cached.
    pub cost: ExtractionCost,
    /// Time for the latents of a single picture.
    pub milliseconds: f64,
}
