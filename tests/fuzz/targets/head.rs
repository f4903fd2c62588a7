//! Heads: a valid head can predict, and can be exported in all formats.
#![no_main]

use inception_web::head::{Head, onnx};
use inception_web_fuzz::{assert_error, safetensors};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    read(input);
    if let Some(file) = safetensors(input, 1 << 20) {
        read(&file);
    }
});

fn read(bytes: &[u8]) {
    let head = match Head::open(bytes) {
        Ok(head) => head,
        Err(error) => return assert_error(&error, "head", ""),
    };
    let latents = [0.5; 2048];
    assert_eq!(head.predict(&latents, 5).len(), head.classes.len().min(5));
    head.relevance(&latents, 0);
    head.write_npz();
    onnx::write(&head);
    let again = Head::read(&head.write(), &head.base).expect("a valid file");
    assert_eq!(again, head);
}
