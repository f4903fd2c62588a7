//! Conversion between Rust and JavaScript values.

use js_sys::Reflect;
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::{JsCast, JsValue};

use crate::error::Error;

/// Converts serialisable data to a plain JavaScript object.
pub(super) fn to_object(value: &impl Serialize) -> JsValue {
    value
        .serialize(&Serializer::json_compatible())
        .expect("plain data is serialisable")
}

/// Reads a JavaScript object. `name` and `want` are for the error message.
///
/// # Errors
/// An unknown property, or a value of the wrong type.
#[cfg(feature = "train")]
pub(super) fn from_object<T: serde::de::DeserializeOwned>(
    object: JsValue,
    name: &'static str,
    want: &'static str,
) -> Result<T, JsValue> {
    serde_wasm_bindgen::from_value(object).map_err(|error| invalid(name, error, want))
}

/// Converts an error to a JavaScript `Error` with the property `kind`, and `reason` if it is a device error.
///
/// AVIF pictures have the kind `avif`, so that the caller can use the browser's decoder.
pub(super) fn to_js_error(error: Error) -> JsValue {
    let kind = match &error {
        Error::UnsupportedPicture { format: "AVIF" } => "avif",
        other => other.kind(),
    };
    let object = js_sys::Error::new(&error.to_string());
    set_property(&object, "kind", &kind.into());
    if let Error::Device { reason } = &error {
        set_property(&object, "reason", &reason.into());
    }
    object.unchecked_into()
}

/// Returns the JavaScript error for an invalid argument.
pub(super) fn invalid(name: &'static str, got: impl ToString, want: &'static str) -> JsValue {
    let got = got.to_string();
    to_js_error(Error::Setting { name, got, want })
}

pub(super) fn set_property(object: &JsValue, key: &str, value: &JsValue) {
    Reflect::set(object, &key.into(), value).expect("plain objects are extensible");
}
