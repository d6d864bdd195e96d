"""Encoded images of any kind to uint8 at the size of the training, on all cores. Needs Pillow, not TensorFlow."""

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

# An image of more than 89 million pixels may be small on disk and fill the memory: it is refused, as Pillow advises.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
# Of odd metadata; the pixels are what is read.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

MIN_EDGE = 8
# No others: some of Pillow's formats start other programs.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_HANDFUL = 16
_CHANNEL_MODES = {1: "L", 3: "RGB"}

RawImage = Union[bytes, np.ndarray]
"""An encoded file, or uint8 pixels: (height, width) or (height, width, channels)."""

Decoded = TypeVar("Decoded")


class BadImageError(Exception):
    """An image that cannot be used; the message says why in a few words."""


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """From an image of any size, mode and orientation to a square of uint8.

    In this order: the orientation of the EXIF tag; 8 bits per channel; transparent pixels on white; grey or RGB;
    black padding; the centred crop; an antialiased resize with Pillow's Lanczos filter, as in StyleGAN2-ADA.

    Attributes:
      image_size: edge of the result in pixels.
      num_channels: 1 (grey) or 3 (RGB) of the result.
      center_crop: edge in pixels of the centred square that is kept before resizing; None for the largest one.
      pad_to: smaller images get a black border on all sides up to this edge, in pixels; None for no border.
    """

    image_size: int
    num_channels: int
    center_crop: int | None = None
    pad_to: int | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the result: (image_size, image_size, num_channels)."""
        return self.image_size, self.image_size, self.num_channels

    def __call__(self, raw: RawImage) -> np.ndarray:
        """The image as (image_size, image_size, num_channels) uint8.

        Raises:
          BadImageError: the file is no image, is damaged, too small or too large.
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
    """In mode "L" or "RGB", with 8 bits per channel."""
    if image.mode == "F":
        raise BadImageError("floating-point pixels, whose range is unknown")
    if image.mode.startswith("I"):
        # Pillow would clip 16 bits instead of scaling them.
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
    """Reads and decodes images in parallel, and gives them in their order.

    Threads are enough: Pillow decodes and resizes outside Python's interpreter lock. In memory are, per thread, a few
    dozen results and one encoded image.

    Args:
      items: name and reader of each image, a function that returns the file or the pixels.
      decode: for example a `Preprocessing`; may raise BadImageError.
      num_threads: by default one per core.

    Yields:
      Name and decoded image, or name and BadImageError.
    """
    num_threads = num_threads or os.cpu_count() or 1
    items = iter(items)
    waiting: collections.deque[concurrent.futures.Future] = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
        try:
            # In handfuls: handing a small image to a thread takes longer than decoding it.
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
    """(height, width, 1 or 3) uint8 as a PNG file, without loss."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "png", compress_level=6)
    return buffer.getvalue()
