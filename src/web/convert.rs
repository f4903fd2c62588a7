//! Converts weights files of other projects.

use wasm_bindgen::prelude::*;

use super::js::to_js_error;
use crate::{
    base::self_test_latents,
    weights::{
        Dtype, Weights, fingerprint,
        import::{self, File},
        round_trip, write,
    },
};

/// Converts the weights files of a model to the native format.
#[wasm_bindgen]
#[derive(Default)]
pub struct Importer {
    files: Vec<(String, Vec<u8>)>,
}

#[wasm_bindgen]
impl Importer {
    /// Creates an importer without files.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Importer {
        Importer::default()
    }

    /// Adds a file of the model.
    #[wasm_bindgen(js_name = addFile)]
    pub fn add_file(&mut self, name: String, bytes: Vec<u8>) {
        self.files.push((name, bytes));
    }

    /// Converts the files to the native format with u8 kernels. `imagenet` names the classes of a classifier that has as many.
    ///
    /// A single file in the native format is checked and returned unchanged.
    pub fn convert(self, imagenet: Vec<String>) -> Result<Vec<u8>, JsValue> {
        if let [(_, bytes)] = self.files.as_slice()
            && Weights::is_native(bytes)
        {
            Weights::open(bytes).map_err(to_js_error)?;
            return Ok(bytes.clone());
        }
        let files: Vec<_> = self
            .files
            .iter()
            .map(|(name, bytes)| File { name, bytes })
            .collect();
        let mut source = import::import(&files, None).map_err(to_js_error)?;
        drop(self.files);
        source.name_classes(&imagenet);
        let fingerprint = fingerprint(&source.info, &source.convs);
        let convs = round_trip(&source, Dtype::U8);
        source.info.self_test_latents = self_test_latents(&source.info, &convs);
        Ok(write(&source, &fingerprint, Dtype::U8))
    }
}
