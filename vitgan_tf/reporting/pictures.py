"""Pictures for a page of bounded size: as they are if they fit, else compressed until they do."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import math
import warnings
from collections.abc import Iterable, Sequence

from PIL import Image

from vitgan_tf.files import FilePart

# Larger files are not read: they would fill the memory. 100 images of 1024 x 1024 pixels, all noise, have 315 MB.
MAX_FILE_BYTES = 2**29
# In pixels: the largest edge of a compressed picture, and that of a frame, because many frames are in memory.
MAX_EDGE, MAX_FRAME_EDGE = 2048, 960
# Images of fewer pixels may have been enlarged to this width by repeating pixels.
MIN_WIDTH = 640
QUALITY = 60
# Attribute of elements whose pixels are those of the file of the run.
EXACT = ' class="exact"'
_MAX_REPETITION = 16
# Pixels per byte of a limit: up to which a lossless compression is tried, and with which the lossy one begins.
_LOSSLESS_PIXELS, _LOSSY_PIXELS = 4, 16
# Bytes of an HTML element beside the picture in it, at most.
_ELEMENT_BYTES = 2000


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of a run.

    Attributes:
      label: what it shows, in a few words.
      file: the PNG file.
      place: where to find the file, in a few words.
      weight: size of its share of a page, relative to those of other pictures.
    """

    label: str
    file: FilePart
    place: str
    weight: int = 1


def elements(pictures: Sequence[Picture], limit: int) -> list[str]:
    """Returns the HTML elements of pictures, in the same order, of at most `limit` bytes together.

    Pictures that are smaller than their share are embedded as they are, and leave the rest of it to the others. Those
    are compressed, without loss if possible; else their labels say that they are reduced, and where the whole picture
    is. One picture at a time is in memory.

    Args:
      pictures: PNG files. In place of one that cannot be read, its label says so.
      limit: maximum number of bytes. With less than 2,000 for each picture, only labels are left, however long.
    """
    shares, weight = {}, sum(picture.weight for picture in pictures)
    for picture in sorted(pictures, key=lambda picture: picture.file.num_bytes / picture.weight):
        needed = -(-picture.file.num_bytes // 3) * 4 + _ELEMENT_BYTES
        shares[picture] = min(needed, limit * picture.weight // weight)
        limit -= shares[picture]
        weight -= picture.weight
    return [_element(picture, shares[picture]) for picture in pictures]


def animation(frames: Iterable[Image.Image], milliseconds: int, label: str, limit: int) -> str:
    """Returns the HTML element of an endless animation, of at most `limit` bytes.

    Small frames are shown at `MIN_WIDTH` or more, by repeating pixels; large ones are made smaller as they come.

    Args:
      frames: pictures of one size, mode L or RGB.
      milliseconds: duration of each frame.
      label: what it shows, in a few words.
      limit: maximum number of bytes.
    """
    kept = []
    for frame in frames:
        frame.thumbnail((MAX_FRAME_EDGE, MAX_FRAME_EDGE), Image.Resampling.LANCZOS)
        kept.append(frame)
    content, is_exact = _compressed(kept, _content_bytes(limit), milliseconds)
    width = kept[0].width * -(-MIN_WIDTH // kept[0].width)
    return _img(label, content, width, is_exact)


def img(label: str, content: bytes, kind: str, attributes: str = "") -> str:
    """Returns the HTML element of a picture; of the label alone if content is empty.

    Args:
      label: what the picture shows.
      content: file of the picture.
      kind: format of the file, as in its media type: png, svg+xml...
      attributes: further attributes of the element.
    """
    source = f' src="data:image/{kind};base64,{base64.b64encode(content).decode()}"' if content else ""
    return f'<img alt="{html.escape(label)}"{source}{attributes}>'


def _element(picture: Picture, limit: int) -> str:
    try:
        content = picture.file.read() if picture.file.num_bytes <= MAX_FILE_BYTES else b""
        image = _decoded(content)
    except Exception:  # Pillow's decoders raise errors of many types on damaged files
        return img(f"{picture.label} cannot be read: {picture.place}", b"", "")
    room = _content_bytes(limit)
    if len(content) <= room:
        return img(picture.label, content, "png", EXACT)
    content, is_exact = _compressed([_without_repetition(image)], room)
    label = picture.label if is_exact else f"{picture.label}, reduced: {picture.place}"
    return _img(label, content, image.width, is_exact)


def _decoded(png: bytes) -> Image.Image:
    with warnings.catch_warnings():
        # Pillow warns of odd metadata and of many pixels. It refuses more than 179 million, half a gigabyte.
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(png), formats=["PNG"])
        image.load()
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _without_repetition(image: Image.Image) -> Image.Image:
    """Undoes an enlargement by repeated pixels, see `images.image_grid`."""
    if max(image.size) > MAX_EDGE:
        return image
    for factor in range(_MAX_REPETITION, 1, -1):
        small = image.resize((-(-image.width // factor), -(-image.height // factor)), Image.Resampling.NEAREST)
        again = small.resize((small.width * factor, small.height * factor), Image.Resampling.NEAREST)
        if again.size == image.size and again.tobytes() == image.tobytes():
            return small
    return image


def _compressed(frames: Sequence[Image.Image], limit: int, milliseconds: int = 0) -> tuple[bytes, bool]:
    """Returns a WebP file of at most `limit` bytes, empty if there is none, and whether it has all pixels."""
    width, height = frames[0].size
    pixels = width * height * len(frames)
    if pixels <= _LOSSLESS_PIXELS * limit and max(width, height) <= MAX_EDGE:
        content = _webp(frames, milliseconds, lossless=True)
        if len(content) <= limit:
            return content, True
    scale = min(1.0, MAX_EDGE / max(width, height), math.sqrt(_LOSSY_PIXELS * limit / pixels))
    while scale * max(width, height) >= 1:
        size = max(1, round(scale * width)), max(1, round(scale * height))
        resized = [frame.resize(size, Image.Resampling.LANCZOS) for frame in frames]
        content = _webp(resized, milliseconds, quality=QUALITY)
        if len(content) <= limit:
            return content, False
        scale *= min(0.9, math.sqrt(limit / len(content)))
    return b"", False


def _webp(frames: Sequence[Image.Image], milliseconds: int, **options: int) -> bytes:
    content = io.BytesIO()
    animated = {"save_all": True, "append_images": frames[1:], "duration": milliseconds, "loop": 0}
    frames[0].save(content, "WEBP", **animated, **options)
    return content.getvalue()


def _content_bytes(limit: int) -> int:
    """Returns how long a file may be in an element of at most `limit` bytes."""
    return max(0, limit - _ELEMENT_BYTES) // 4 * 3


def _img(label: str, webp: bytes, width: int, is_exact: bool) -> str:
    """Returns the element of a compressed picture, shown with `width` pixels; exact ones with sharp pixels."""
    return img(label, webp, "webp", f' width="{width}"{EXACT if is_exact else ""}')
