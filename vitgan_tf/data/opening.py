"""Opens image files in spite of faults outside their pixels. Needs Pillow, not TensorFlow."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from vitgan_tf.data import kinds, repair
from vitgan_tf.files import format_bytes
from vitgan_tf.shared_context import shared_context

# Uncompressed RGB.
_BYTES_PER_PIXEL = 3
_ORIENTATION = 0x0112
_TIFF_PHOTOMETRIC, _TIFF_FORMAT, _TIFF_SIGNED = 262, 339, 2
# Entry of the information about an image: bits of its colours in the file, if Pillow reads fewer.
COLOR_BITS = "vitgan_color_bits"
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImageError(Exception):
    """Unusable image; the message gives the reason in a few words."""


@shared_context
def quiet_pillow() -> Iterator[None]:
    """Ignores Pillow's warnings while images are decoded."""
    with warnings.catch_warnings():
        # Warnings about odd metadata: only the pixels are read.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        # Images above the limit are refused here, where the message can name the flag.
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        yield


@contextlib.contextmanager
def limited_pixels(max_megapixels: float) -> Iterator[None]:
    """Sets the number of pixels, in millions, above which images are refused; 0 for no limit."""
    # Some of Pillow's decoders read it too.
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, int(max_megapixels * 1e6) or None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def check_size(num_bytes: int) -> None:
    """Raises BadImageError for a file that is too large for the pixels that an image may have."""
    limit = _BYTES_PER_PIXEL * (Image.MAX_IMAGE_PIXELS or num_bytes)
    if num_bytes > limit:
        raise BadImageError(
            f"a file of {format_bytes(num_bytes)}, more than {format_bytes(limit)} "
            "(--max_megapixels=0 lifts the limit)"
        )


def opened_file(file: bytes) -> tuple[Image.Image, list[str]]:
    """Decodes a file in spite of faults outside its pixels, and turns the image upright.

    Returns:
      The image, and what the user should know about the file, in a few words each.

    Raises:
      BadImageError: the file is not an image, is damaged, or has too many pixels.
    """
    if repair.has_wrong_checksum(file):
        raise BadImageError("damaged: a checksum of its pixels is wrong")
    try:
        return _upright(file)
    except BadImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels() from error
    except Exception as error:  # Pillow's decoders raise errors of many types
        first = error
    pixels = repair.without_metadata(file)
    if pixels is None:
        known = kinds.kind(file[: kinds.HEAD_BYTES])
        if known in kinds.formats():
            raise _damaged(first) from first
        words = kinds.advice(known)
        raise BadImageError("not an image that can be read" + (f" ({known}: {words})" if words else "")) from first
    with contextlib.suppress(Exception):
        image, notes = _upright(pixels)
        return image, ["used without its metadata, which cannot be read", *notes]
    if _has_all_pixels(pixels):
        image, notes = _upright(repair.jpeg_ends(pixels)[0])
        return image, ["used: only its end marker is missing", *notes]
    raise _damaged(first) from first


def _damaged(error: Exception) -> BadImageError:
    # Pillow's message for a beginning that it cannot read names only its own buffer.
    if isinstance(error, Image.UnidentifiedImageError):
        return BadImageError("damaged, or of a kind that Pillow cannot read")
    return BadImageError(f"damaged: {error}")


def _too_many_pixels() -> BadImageError:
    limit = (Image.MAX_IMAGE_PIXELS or 0) / 1e6
    return BadImageError(f"more than {limit:.3g} million pixels (--max_megapixels=0 lifts the limit)")


def _upright(file: bytes) -> tuple[Image.Image, list[str]]:
    image: Image.Image = Image.open(io.BytesIO(file), formats=kinds.formats())
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise _too_many_pixels()
    notes, orientation = [], 1
    with contextlib.suppress(Exception):  # a damaged second frame
        # The further images of a phone's MPO are previews.
        if getattr(image, "is_animated", False) and image.format != "MPO":
            notes.append("only its first frame is used")
    has_16_bits = _has_16_bit_colors(image)
    image.load()
    if image.format in ("JPEG", "MPO") and _may_lack_pixels(file, image) and not _has_all_pixels(file):
        raise BadImageError("damaged: pixels are missing")
    if has_16_bits:
        image.info[COLOR_BITS] = 16
        notes.append("of the 16 bits of its colours, the upper 8 are read")
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow raises errors of many types
        notes.append("used as it is stored: its EXIF data cannot be read")
    if image.format == "TIFF":
        image = _as_tiff_says(image)
    if image.format == "PPM" and image.mode == "I":  # scaled to 16 bits by Pillow
        image = image.convert("I;16")
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    return image, notes


def _may_lack_pixels(file: bytes, image: Image.Image) -> bool:
    """True for a JPEG file whose end is missing or has the grey that libjpeg fills in without an error."""
    if not repair.has_end(file) or ("progressive" in image.info and not repair.has_all_scans(file)):
        return True
    value = image.getpixel((image.width - 1, image.height - 1))
    return all(band in (127, 128) for band in (value if isinstance(value, tuple) else (value,))[:3])


def _has_all_pixels(file: bytes) -> bool:
    """True for a JPEG file, with or without its end marker, whose scans are whole."""
    try:
        if not repair.has_all_scans(file):
            return False
        first, *others = (np.asarray(Image.open(io.BytesIO(whole))) for whole in repair.jpeg_ends(file))
        return all(np.array_equal(first, other) for other in others)
    except Exception:  # Pillow raises errors of many types
        return False


def _has_16_bit_colors(image: Image.Image) -> bool:
    """True for an image, not yet loaded, of whose colours Pillow reads 8 of 16 bits."""
    return image.mode in ("RGB", "RGBA", "LA") and any(";16" in str(tile) for tile in getattr(image, "tile", ()))


def _as_tiff_says(image: Image.Image) -> Image.Image:
    """Inverts 16-bit pixels of which 0 is white, as Pillow does those of 8 bits, and refuses signed ones."""
    if _TIFF_SIGNED in _tiff_tag(image, _TIFF_FORMAT) and image.mode != "I":
        raise BadImageError("signed pixels of 8 bits: convert it to PNG")
    if image.mode.startswith("I;16") and 0 in _tiff_tag(image, _TIFF_PHOTOMETRIC):
        return Image.fromarray(np.uint16(65_535) - np.asarray(image).astype(np.uint16))
    return image


def _tiff_tag(image: Image.Image, tag: int) -> tuple[Any, ...]:
    value = getattr(image, "tag_v2", {}).get(tag, ())
    return value if isinstance(value, tuple) else (value,)
