"""Sizes and channels of images on disk, from their headers."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any, Callable

import numpy as np
from PIL import Image

from vitgan_tf.config import DataLocation
from vitgan_tf.data import kinds, tfds_sets
from vitgan_tf.data.decoding import RawImage, decode_all
from vitgan_tf.data.opening import BadImageError, limited_pixels
from vitgan_tf.data.registry import FOLDER
from vitgan_tf.errors import UserError

_GREY_MODES = ("1", "L", "LA", "La", "I", "F")
_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height


def common_shape(location: DataLocation, is_resized: bool = False) -> tuple[int, int]:
    """Returns edge and number of channels of the images of a folder, a zip archive or a prepared set.

    Args:
      location: its data_dir holds the images.
      is_resized: whether the images may have any size, as all are brought to one; the edge is then that of any.

    Returns:
      The edge in pixels of all images that can be read; and 1 if all are grey, else 3.

    Raises:
      UserError: there are no images, they are not square, or they have several sizes.
    """
    path = location.data_dir or ""
    builder = tfds_sets.find_in(path)
    if builder is not None and "image" in builder.info.features:
        height, width, channels = builder.info.features["image"].shape
        if height is None or height != width:
            raise UserError(f"the data set in {path!r} has images of several sizes, or not square: prepare it first")
        return height, channels
    source = FOLDER.source(path, "training")
    with limited_pixels(location.max_megapixels):
        shapes = _shapes(source.items())
    sizes = sorted({shape[:2] for shape in shapes})
    if not sizes:
        raise UserError(f"none of the {len(source)} images of {path!r} has a header that can be read")
    (width, height), *others = sizes
    if others and not is_resized:
        raise UserError(
            f"the images of {path!r} have several sizes ({width} x {height}, {others[0][0]} x {others[0][1]}): set "
            "--resolution=EDGE, to which all are cropped and resized"
        )
    if width != height and not is_resized:
        raise UserError(
            f"the images of {path!r} are not square ({width} x {height}): set --resolution=EDGE, to which all are "
            "cropped and resized"
        )
    return width, max(channels for _, _, channels in shapes)


def _shapes(items: Iterable[tuple[Any, Callable[[], RawImage]]]) -> set[tuple[int, int, int]]:
    results = (result for _, result in decode_all(items, _shape))
    return {result for result in results if not isinstance(result, BadImageError)}


def _shape(raw: RawImage) -> tuple[int, int, int]:
    """Returns width, height and channels of an image as it is shown."""
    if isinstance(raw, np.ndarray):
        return raw.shape[1], raw.shape[0], raw.shape[2] if raw.ndim == 3 else 1
    try:
        image = Image.open(io.BytesIO(raw), formats=kinds.formats())
        is_turned = image.getexif().get(_ORIENTATION) in _TURNED
    except Exception as error:  # Pillow raises errors of many types
        raise BadImageError("its header cannot be read") from error
    width, height = image.size[::-1] if is_turned else image.size
    return width, height, 1 if image.mode in _GREY_MODES or image.mode.startswith("I;16") else 3
