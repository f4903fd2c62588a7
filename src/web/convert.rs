//! Weights files of other libraries on their way to a file of ours.

use wasm_bindgen::prelude::*;

use super::js;
use crate::{
    base::self_test_latents,
    weights::{
        Dtype, Weights, fingerprint,
        import::{self, File},
        rounded, write,
    },
};

/// Weights files as the field hands them round, on their way to a file of ours.
#[wasm_bindgen]
#[derive(Default)]
pub struct Foreign {
    files: Vec<(String, Vec<u8>)>,
}

#[wasm_bindgen]
impl Foreign {
    /// None yet.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Foreign {
        Foreign::default()
    }

    /// Takes a file of the source.
    #[wasm_bindgen(js_name = addFile)]
    pub fn add_file(&mut self, name: String, bytes: Vec<u8>) {
        self.files.push((name, bytes));
    }

    /// Converts them to one file of ours with u8 kernels; `imagenet` names the classes of a classifier that has as many.
    pub fn convert(self, imagenet: Vec<String>) -> Result<Vec<u8>, JsValue> {
        if let [(_, bytes)] = self.files.as_slice()
            && Weights::is(bytes)
        {
            Weights::open(bytes).map_err(js)?;
            return Ok(bytes.clone());
        }
        let files: Vec<_> = self
            .files
            .iter()
            .map(|(name, bytes)| File { name, bytes })
            .collect();
        let mut source = import::import(&files, None).map_err(js)?;
        drop(self.files);
        source.name_classes(&imagenet);
        let fingerprint = fingerprint(&source.info, &source.convs);
        let convs = rounded(&source, Dtype::U8);
        source.info.self_test_latents = self_test_latents(&source.info, &convs);
        Ok(write(&source, &fingerprint, Dtype::U8))
    }
}
