"""Decodes images of any format to uint8 at the training resolution, on all cores. Needs Pillow, not TensorFlow."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import io
import itertools
import os
import warnings
from collections.abc import Iterable, Iterator
from typing import Callable, TypeVar, Union

import numpy as np
from PIL import Image, ImageOps

# Images above 89 million pixels may be small on disk but fill the memory: refused, as Pillow advises.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
# Warnings about odd metadata: only the pixels are read.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

MIN_EDGE = 8
# An allowlist: some of Pillow's formats start other programs.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_HANDFUL = 16
_CHANNEL_MODES = {1: "L", 3: "RGB"}

RawImage = Union[bytes, np.ndarray]
"""An encoded file, or uint8 pixels: (height, width) or (height, width, channels)."""

Decoded = TypeVar("Decoded")


class BadImageError(Exception):
    """Unusable image; the message gives the reason in a few words."""


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Converts an image of any size, mode and orientation to a uint8 square.

    In this order: EXIF orientation; 8 bits per channel; transparent pixels on white; grey or RGB; black padding;
    centre crop; antialiased resizing with Pillow's Lanczos filter, as in StyleGAN2-ADA.

    Attributes:
      image_size: edge of the result in pixels.
      num_channels: channels of the result, 1 (grey) or 3 (RGB).
      center_crop: edge in pixels of the centre crop before resizing; None for the largest square.
      pad_to: edge in pixels to which smaller images are padded with black on all sides; None for no padding.
    """

    image_size: int
    num_channels: int
    center_crop: int | None = None
    pad_to: int | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the result: (image_size, image_size, num_channels)."""
        return self.image_size, self.image_size, self.num_channels

    def __call__(self, raw: RawImage) -> np.ndarray:
        """Returns the image as (image_size, image_size, num_channels) uint8.

        Raises:
          BadImageError: the file is not an image, is damaged, or has too few or too many pixels.
        """
        try:
            image = (
                Image.fromarray(raw) if isinstance(raw, np.ndarray) else Image.open(io.BytesIO(raw), formats=FORMATS)
            )
            image = _to_8_bits(ImageOps.exif_transpose(image), _CHANNEL_MODES[self.num_channels])
        except BadImageError:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise BadImageError(f"more than {(Image.MAX_IMAGE_PIXELS or 0) // 10**6} million pixels") from error
        except Image.UnidentifiedImageError as error:
            raise BadImageError("not an image that can be read") from error
        except Exception as error:  # Pillow's decoders raise errors of many types on damaged files
            raise BadImageError(f"damaged: {error}") from error
        if min(image.size) < MIN_EDGE:
            raise BadImageError(f"only {image.width} x {image.height} pixels, less than {MIN_EDGE} x {MIN_EDGE}")
        if self.pad_to is not None:
            width, height = (max(self.pad_to, edge) for edge in image.size)
            padded = Image.new(image.mode, (width, height))
            padded.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
            image = padded
        edge = min(image.size) if self.center_crop is None else self.center_crop
        if edge > min(image.size):
            raise BadImageError(f"only {image.width} x {image.height} pixels, less than the crop of {edge} x {edge}")
        left, top = ((size - edge) // 2 for size in image.size)
        image = image.crop((left, top, left + edge, top + edge))
        if edge != self.image_size:
            image = image.resize((self.image_size, self.image_size), Image.Resampling.LANCZOS)
        return np.asarray(image).reshape(self.shape)


def _to_8_bits(image: Image.Image, mode: str) -> Image.Image:
    """Converts an image to mode "L" or "RGB" with 8 bits per channel."""
    if image.mode == "F":
        raise BadImageError("floating-point pixels, whose range is unknown")
    if image.mode.startswith("I"):
        # Pillow would clip 16-bit values instead of scaling them.
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise BadImageError("more than 16 bits per pixel")
        transparent = image.info.get("transparency")
        image = Image.fromarray(np.rint(values / 257.0).astype(np.uint8))
        if transparent is not None:
            image = Image.merge(
                "LA", (image, Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
            )
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def decode_all(
    items: Iterable[tuple[str, Callable[[], RawImage]]],
    decode: Callable[[RawImage], Decoded],
    num_threads: int | None = None,
) -> Iterator[tuple[str, Decoded | BadImageError]]:
    """Reads and decodes images in parallel, preserving their order.

    Threads suffice: Pillow decodes and resizes outside Python's interpreter lock. Memory holds, per thread, a few
    dozen results and one encoded image.

    Args:
      items: name and reader of each image; the reader returns the file or the pixels.
      decode: for example a `Preprocessing`; may raise BadImageError.
      num_threads: number of threads; by default one per core.

    Yields:
      Name and decoded image, or name and BadImageError.
    """
    num_threads = num_threads or os.cpu_count() or 1
    items = iter(items)
    waiting: collections.deque[concurrent.futures.Future] = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
        try:
            # In handfuls: passing a small image to a thread takes longer than decoding it.
            while handful := list(itertools.islice(items, _HANDFUL)):
                waiting.append(pool.submit(_decode_in_turn, handful, decode))
                if len(waiting) > 2 * num_threads:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _decode_in_turn(
    items: list[tuple[str, Callable[[], RawImage]]], decode: Callable[[RawImage], Decoded]
) -> list[tuple[str, Decoded | BadImageError]]:
    results: list[tuple[str, Decoded | BadImageError]] = []
    for name, read in items:
        try:
            results.append((name, decode(read())))
        except BadImageError as error:
            results.append((name, error))
        except OSError as error:
            results.append((name, BadImageError(f"cannot be read: {error.strerror or error}")))
    return results


def encode_png(image: np.ndarray) -> bytes:
    """Encodes (height, width, 1 or 3) uint8 as PNG, losslessly."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "png", compress_level=6)
    return buffer.getvalue()
