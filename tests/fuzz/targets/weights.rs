//! Weights files of ours: opened, and every convolution and the classifier read out of them.
#![no_main]

use inception_web::{error::Error, weights::{WeightsStream, Weights}};
use inception_web_fuzz::{refused, safetensors};
use libfuzzer_sys::fuzz_target;

/// A whole file with a byte a weight has 22 MB.
const MOST: usize = 24 << 20;
/// The largest file that is read in pieces too.
const PIECED: usize = 1 << 20;

fuzz_target!(|input: &[u8]| {
    _ = read(input);
    let Some(mut file) = safetensors(input, MOST) else {
        return;
    };
    // What the contents' SHA-256 should have been stands in the refusal.
    if let Err(Error::Digest { want, got }) = read(&file)
        && let Some(at) = file.windows(64).position(|w| w == want.as_bytes())
    {
        file[at..at + 64].copy_from_slice(got.as_bytes());
        _ = read(&file);
    }
});

fn read(bytes: &[u8]) -> Result<(), Error> {
    let whole = opened(Weights::open(bytes));
    if bytes.len() > PIECED {
        return whole;
    }
    // The same in pieces, whose number the first byte of the file tells.
    let count = bytes.first().map_or(1, |first| 2 + usize::from(*first));
    let size = 1 + bytes.len() / count;
    let mut arriving = WeightsStream::new();
    let mut pieces = bytes.chunks(size);
    let taken = pieces.try_for_each(|piece| {
        arriving.take(piece.to_vec().into())?;
        while arriving.next_conv()?.is_some() {}
        Ok(())
    });
    let pieces = taken.and_then(|()| arriving.finish()?.head());
    assert_eq!(pieces.is_ok(), whole.is_ok());
    if let Err(error) = pieces {
        refused(&error, "weights", "");
    }
    whole
}

fn opened(weights: Result<Weights, Error>) -> Result<(), Error> {
    let read = weights.and_then(|weights| {
        weights.convs().try_for_each(|conv| conv.map(|_| ()))?;
        if let Some(head) = weights.head()? {
            assert!(!head.predict(&[0.5; 2048], 1).is_empty());
        }
        assert!(weights.info.range.is_finite());
        Ok(())
    });
    read.inspect_err(|error| refused(error, "weights", ""))
}
