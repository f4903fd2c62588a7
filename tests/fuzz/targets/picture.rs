//! Pictures: what is decoded also becomes what the net reads.
#![no_main]

use inception_web::image::Pixels;
use inception_web_fuzz::refused;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Pixels::decode(bytes) {
        Ok(pixels) => {
            assert_eq!(pixels.rgb().len(), pixels.width() * pixels.height() * 3);
            pixels.resize();
        }
        Err(error) => refused(&error, "picture", ""),
    }
});
