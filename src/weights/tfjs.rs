//! TF.js layers models of Keras' Inception V3: `model.json` and its shards.

use crate::{
    error::Error,
    weights::{Source, foreign::File},
};

/// The file that the source begins with, if there is one among these.
pub(super) fn find<'a>(_files: &[File<'a>]) -> Option<File<'a>> {
    None
}

/// Reads the source.
pub(super) fn read(_file: File, _files: &[File]) -> Result<Source, Error> {
    unreachable!("nothing is found yet")
}
