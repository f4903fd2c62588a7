//! Weights in the native format: opens a file and reads all convolutions and the classifier.
#![no_main]

use inception_web::{
    error::Error,
    weights::{Weights, WeightsStream},
};
use inception_web_fuzz::{assert_error, safetensors};
use libfuzzer_sys::fuzz_target;

/// Maximum size of the data; a u8 file has 22 MB.
const MAX_DATA: usize = 24 << 20;
/// Maximum size of a file that is also read as a stream.
const MAX_STREAMED: usize = 1 << 20;

fuzz_target!(|input: &[u8]| {
    _ = read(input);
    let Some(mut file) = safetensors(input, MAX_DATA) else {
        return;
    };
    // Correct the checksum in the metadata.
    if let Err(Error::Checksum { want, got }) = read(&file)
        && let Some(position) = file.windows(64).position(|w| w == want.as_bytes())
    {
        file[position..position + 64].copy_from_slice(got.as_bytes());
        _ = read(&file);
    }
});

fn read(bytes: &[u8]) -> Result<(), Error> {
    let whole = read_all(Weights::open(bytes));
    if bytes.len() > MAX_STREAMED {
        return whole;
    }
    // Read the file as a stream too. Its first byte determines the number of chunks.
    let count = bytes.first().map_or(1, |first| 2 + usize::from(*first));
    let size = 1 + bytes.len() / count;
    let mut stream = WeightsStream::new();
    let pushed = bytes.chunks(size).try_for_each(|chunk| {
        stream.push(chunk.to_vec().into())?;
        while stream.next_conv()?.is_some() {}
        Ok(())
    });
    let streamed = pushed.and_then(|()| stream.finish()?.head());
    assert_eq!(streamed.is_ok(), whole.is_ok());
    if let Err(error) = streamed {
        assert_error(&error, "weights", "");
    }
    whole
}

fn read_all(weights: Result<Weights, Error>) -> Result<(), Error> {
    let read = weights.and_then(|weights| {
        weights.convs().try_for_each(|conv| conv.map(|_| ()))?;
        if let Some(head) = weights.head()? {
            assert!(!head.predict(&[0.5; 2048], 1).is_empty());
        }
        assert!(weights.info.range.is_finite());
        Ok(())
    });
    read.inspect_err(|error| assert_error(error, "weights", ""))
}
