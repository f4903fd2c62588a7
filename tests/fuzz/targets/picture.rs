//! Pictures: a decoded picture can be resized to the input of the network.
#![no_main]

use inception_web::image::Pixels;
use inception_web_fuzz::assert_error;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Pixels::decode(bytes) {
        Ok(pixels) => {
            assert_eq!(pixels.rgb().len(), pixels.width() * pixels.height() * 3);
            pixels.resize();
        }
        Err(error) => assert_error(&error, "picture", ""),
    }
});
