"""Decodes images of any format to uint8 at the training resolution, on all cores. Needs Pillow, not TensorFlow."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import io
import itertools
import math
import os
from collections.abc import Iterable, Iterator
from typing import Callable, TypeVar, Union

import numpy as np
from PIL import Image

from vitgan_tf.data.opening import COLOR_BITS, BadImageError, opened_file, quiet_pillow

MIN_EDGE = 8
_HANDFUL = 16
_LIMIT_8, _LIMIT_16 = 255.0, 65_535.0
# Values of 8 bits that are so close together may be those of a set whose range is too narrow.
_CLOSE = 64
_CHANNEL_MODES = {1: "L", 3: "RGB"}

RawImage = Union[bytes, np.ndarray]
"""An encoded file, or uint8 pixels: (height, width) or (height, width, channels)."""

Key = TypeVar("Key")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class DecodedImage:
    """A decoded image.

    Attributes:
      pixels: (image_size, image_size, num_channels) uint8.
      notes: what the user should know about the file, in a few words each.
      extremes: lowest and highest value of its pixels, of the type in the file or, if the user gave the range, of 8
        bits; of an image with a wide range, those after the resizing.
      limit: largest value of the type in the file: 255, 65,535 or, for 32 bits, infinity.
    """

    pixels: np.ndarray
    notes: tuple[str, ...]
    extremes: tuple[float, float]
    limit: float


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
      value_range: pixel values that become 0 and 255, with those beyond clipped; by default, 0 and the largest value
        of 8 or 16 bits. Pixels of 32 bits need it.
    """

    image_size: int
    num_channels: int
    center_crop: int | None = None
    pad_to: int | None = None
    value_range: tuple[float, float] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the result: (image_size, image_size, num_channels)."""
        return self.image_size, self.image_size, self.num_channels

    def __call__(self, raw: RawImage) -> np.ndarray:
        """Returns the pixels of `decode`."""
        return self.decode(raw).pixels

    @quiet_pillow()
    def decode(self, raw: RawImage) -> DecodedImage:
        """Decodes an image.

        Raises:
          BadImageError: the file is not an image, is damaged, has too few or too many pixels, or pixels without a
            known range.
        """
        image, notes = (Image.fromarray(raw), []) if isinstance(raw, np.ndarray) else opened_file(raw)
        try:
            image, extremes, limit = _to_8_bits(image, _CHANNEL_MODES[self.num_channels], self.value_range)
        except BadImageError:
            raise
        except Exception as error:  # Pillow raises errors of many types
            raise BadImageError(f"damaged: {error}") from error
        pixels = self._resized(image)
        if self.value_range is not None or extremes is None:
            extremes = _extremes(image, pixels)
        if self.value_range is None and image.info.get(COLOR_BITS) == 16:
            extremes, limit = (extremes[0] * 257.0, extremes[1] * 257.0), _LIMIT_16
        return DecodedImage(pixels, tuple(notes), extremes, limit)

    def _resized(self, image: Image.Image) -> np.ndarray:
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


def _to_8_bits(
    image: Image.Image, mode: str, value_range: tuple[float, float] | None
) -> tuple[Image.Image, tuple[float, float] | None, float]:
    """Converts an image to mode "L" or "RGB" with 8 bits per channel.

    Returns:
      The image; the extremes of 16 or 32 bits; and the limit of `DecodedImage`.
    """
    extremes, limit = None, _LIMIT_8
    if image.mode == "F" or image.mode.startswith("I"):
        image, extremes, limit = _from_wide_pixels(image, value_range)
    is_transparent = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    image = image.convert("RGBA" if is_transparent else mode)
    if value_range is not None and extremes is None:
        scale = 257.0 if image.info.get(COLOR_BITS) == 16 else 1.0
        value_range = value_range[0] / scale, value_range[1] / scale
        steps = _scaled(np.arange(256), value_range).tolist()
        bands = [band.point(steps) for band in image.split()[:3]] + list(image.split()[3:])
        image = Image.merge(image.mode, bands)
    if is_transparent:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert(mode)
    return image, extremes, limit


def _from_wide_pixels(
    image: Image.Image, value_range: tuple[float, float] | None
) -> tuple[Image.Image, tuple[float, float], float]:
    """Scales pixels of 16 or 32 bits: Pillow would clip them."""
    limit = _LIMIT_16 if image.mode.startswith("I;16") else math.inf
    if value_range is None and limit == math.inf:
        raise BadImageError(
            "32-bit pixels, whose range is unknown: training or preparation with --value_range=LOW,HIGH gives it"
        )
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise BadImageError("pixels that are not finite numbers")
    scaled = Image.fromarray(_scaled(values, value_range or (0, limit)))
    transparent = image.info.get("transparency")
    if transparent is not None:
        scaled = Image.merge(
            "LA", (scaled, Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
        )
    return scaled, (float(values.min()), float(values.max())), limit


def _scaled(values: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    low, high = value_range
    return np.rint((np.clip(values.astype(np.float64), low, high) - low) * (255.0 / (high - low))).astype(np.uint8)


def _extremes(image: Image.Image, resized: np.ndarray) -> tuple[float, float]:
    """Returns the lowest and highest value of the resized pixels or, where these are close together, of the image."""
    low, high = float(resized.min()), float(resized.max())
    if high - low > _CLOSE:
        return low, high
    extremes = np.asarray(image.getextrema())
    return float(extremes.min()), float(extremes.max())


def decode_all(
    items: Iterable[tuple[Key, Callable[[], RawImage]]],
    decode: Callable[[RawImage], Result],
    num_threads: int | None = None,
) -> Iterator[tuple[Key, Result | BadImageError]]:
    """Reads and decodes images in parallel, preserving their order.

    Threads suffice: Pillow decodes and resizes outside Python's interpreter lock. Memory holds, per thread, a few
    dozen results and one encoded image.

    Args:
      items: key and reader of each image; the key is any value, and the reader returns the file or the pixels.
      decode: for example a `Preprocessing`; may raise BadImageError.
      num_threads: number of threads; by default one per core.

    Yields:
      Key and decoded image, or key and BadImageError.
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
    items: list[tuple[Key, Callable[[], RawImage]]], decode: Callable[[RawImage], Result]
) -> list[tuple[Key, Result | BadImageError]]:
    results: list[tuple[Key, Result | BadImageError]] = []
    with quiet_pillow():  # once for all: entering it for each image takes a tenth of the time
        for key, read in items:
            try:
                results.append((key, decode(read())))
            except BadImageError as error:
                results.append((key, error))
            except OSError as error:
                results.append((key, BadImageError(f"cannot be read: {error.strerror or error}")))
    return results


def encode_png(image: np.ndarray) -> bytes:
    """Encodes (height, width, 1 or 3) uint8 as PNG, losslessly."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "png", compress_level=6)
    return buffer.getvalue()
