"""Creates valid and invalid picture files of many formats, and the expected pixels of the valid ones (`expected.json`).

    python3.11 -m venv venv
    venv/bin/pip install numpy==2.4.6 pillow==13.0.0
    venv/bin/python tests/pictures/make.py

The output is deterministic and written to the folder of this script. The expected pixels are those that Pillow decodes
from the file: 8-bit RGB, with the Exif orientation applied and transparency blended over white. Format of
`expected.json`: {file: {"width", "height", "tolerance", "pixels": [{"x", "y", "rgb"}]}}, where (0, 0) is the upper left
and `tolerance` is the maximum difference per channel. Files that are not listed must be rejected.
"""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT = 40, 24
CENTRES = [(10, 6), (30, 6), (10, 18), (30, 18)]  # of the four quadrants
RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 160, 50), (40, 60, 200), (240, 210, 40)

# Transform from the upright picture to the stored one, by Exif orientation.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

expected = {}


def quadrants():
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:12, :20], pixels[:12, 20:], pixels[12:, :20], pixels[12:, 20:] = RED, GREEN, BLUE, YELLOW
    return Image.fromarray(pixels)


def write(name, data):
    (HERE / name).write_bytes(data)


def encoded(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def over_white(picture):
    rgba = picture.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def expect(name, tolerance, at=CENTRES, shown=None):
    """Adds a file to `expected.json`. `shown` replaces the pixels decoded by Pillow where Pillow is not exact."""
    picture = shown or over_white(ImageOps.exif_transpose(Image.open(HERE / name)))
    pixels = [{"x": x, "y": y, "rgb": list(picture.getpixel((x, y)))} for x, y in at]
    expected[name] = {"width": picture.width, "height": picture.height, "tolerance": tolerance, "pixels": pixels}


# PNG encoder: https://www.w3.org/TR/png-3/#5DataRep


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width, height, bits=8, colour=2):
    """Returns signature and IHDR; `colour` 0 is grey, 2 is RGB."""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))


def png(samples):
    """Encodes samples of shape [height, width] (grey) or [height, width, 3] (RGB), uint8 or uint16."""
    bits, colour = samples.dtype.itemsize * 8, 2 if samples.ndim == 3 else 0
    rows = samples.astype(samples.dtype.newbyteorder(">")).reshape(len(samples), -1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows), 9)
    return png_header(samples.shape[1], len(samples), bits, colour) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def orientations():
    for orientation, transpose in STORED.items():
        stored = quadrants() if transpose is None else quadrants().transpose(transpose)
        exif = Image.Exif()
        exif[0x0112] = orientation
        name = f"orientation_{orientation}.jpg"
        write(name, encoded(stored, "JPEG", quality=95, subsampling=0, exif=exif))
        expect(name, 3)


def colour_kinds():
    picture = quadrants()
    grey = picture.convert("L")

    write("grey.jpg", encoded(grey, "JPEG", quality=95))
    expect("grey.jpg", 2)
    write("grey.png", encoded(grey, "PNG"))
    expect("grey.png", 0)

    # v * 257 in 16 bits is v in 8 bits, both if the low byte is dropped and if it is divided by 257 and rounded.
    write("grey16.png", png(np.asarray(grey, np.uint16) * 257))
    expect("grey16.png", 0, shown=grey.convert("RGB"))
    write("rgb16.png", png(np.asarray(picture, np.uint16) * 257))
    expect("rgb16.png", 0, shown=picture)

    # The conversion from CMYK to RGB is not standardised, hence the tolerance.
    ink = picture.convert("CMYK")
    adobe = encoded(ink, "JPEG", quality=95, subsampling=0)
    # Pillow writes an Adobe marker (APP14) and 255 for no ink, as Photoshop does.
    assert b"\xff\xee\x00\x0eAdobe" in adobe
    write("cmyk_adobe.jpg", adobe)
    expect("cmyk_adobe.jpg", 12)
    # Without the marker, Pillow still reads 255 as no ink, but TensorFlow reads it as full ink.
    write("cmyk.jpg", without_adobe(adobe))
    expect("cmyk.jpg", 12)


def transparencies():
    palette = quadrants().quantize(4, dither=Image.Dither.NONE)
    clear = palette.getpixel(CENTRES[0])  # the index of red
    write("palette_transparent.png", encoded(palette, "PNG", transparency=clear))
    expect("palette_transparent.png", 0)

    # Alpha 128: green and blue become 255 - 128 = 127. Rounding may differ by one level.
    write("rgba.png", encoded(Image.new("RGBA", (WIDTH, HEIGHT), (255, 0, 0, 128)), "PNG"))
    expect("rgba.png", 1)

    la = np.zeros((HEIGHT, WIDTH, 2), np.uint8)
    la[:12, :20], la[:12, 20:], la[12:, :20], la[12:, 20:] = (0, 255), (0, 128), (100, 64), (100, 0)
    write("la.png", encoded(Image.fromarray(la), "PNG"))
    expect("la.png", 1)


def formats():
    picture = quadrants()
    red, blue = (Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ((255, 0, 0), (0, 0, 255)))
    write("animation.gif", encoded(red, "GIF", save_all=True, append_images=[blue], duration=200, loop=0))
    expect("animation.gif", 0)
    write("picture.webp", encoded(picture, "WEBP", quality=90))
    expect("picture.webp", 6)
    write("picture.bmp", encoded(picture, "BMP"))
    expect("picture.bmp", 0)
    write("picture.avif", encoded(picture, "AVIF", quality=90, subsampling="4:4:4"))
    expect("picture.avif", 6)
    write("progressive.jpg", encoded(picture, "JPEG", quality=95, subsampling=0, progressive=True))
    expect("progressive.jpg", 3)


def sizes():
    write("one.png", png(np.array([[RED]], np.uint8)))
    expect("one.png", 0, at=[(0, 0)])
    tall = np.empty((10000, 1, 3), np.uint8)
    tall[:5000], tall[5000:] = RED, BLUE
    write("tall.png", png(tall))
    expect("tall.png", 0, at=[(0, 0), (0, 4999), (0, 5000), (0, 9999)])

    # Sizes that a decoder must reject before allocation.
    empty = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    write("huge_header.png", png_header(100_000, 100_000) + empty)
    write("wide_header.png", png_header(17_000, 10) + empty)
    write("many_pixels.png", png_header(16_000, 16_000) + empty)


def broken():
    # A texture compresses badly, so that the missing 40 % are pixel data.
    y, x, c = np.ogrid[:HEIGHT * 4, :WIDTH * 4, :3]
    texture = Image.fromarray((127.5 + 127.5 * np.sin(0.3 * x + 0.2 * y + c)).astype(np.uint8))
    for name, kind, options in [("truncated.jpg", "JPEG", {"quality": 90}), ("truncated.png", "PNG", {})]:
        whole = encoded(texture, kind, **options)
        write(name, whole[: len(whole) * 6 // 10])
    write("empty.jpg", b"")
    write("text.jpg", b"this is not a picture")
    # The first box of a HEIC file, which identifies the format.
    brand = b"heic" + struct.pack(">I", 0) + b"mif1heic"
    write("picture.heic", struct.pack(">I", 8 + len(brand)) + b"ftyp" + brand)


def without_adobe(jpeg):
    start = jpeg.index(b"\xff\xee\x00\x0eAdobe")
    return jpeg[:start] + jpeg[start + 16 :]


if __name__ == "__main__":
    for make in (orientations, colour_kinds, transparencies, formats, sizes, broken):
        make()
    lines = [f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(expected.items())]
    (HERE / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
