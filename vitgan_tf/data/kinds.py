"""Kinds of files, told by their first bytes and not by their names."""

from __future__ import annotations

import collections
import functools
import importlib
import importlib.util
import os
import re
from collections.abc import Iterable

from PIL import Image, features

HEAD_BYTES = 32
# An allowlist, because some of Pillow's formats start other programs.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "JPEG2000", "PPM")
_SIGNATURES = {
    "PNG": [(0, b"\x89PNG\r\n\x1a\n")],
    "JPEG": [(0, b"\xff\xd8\xff")],
    "WEBP": [(8, b"WEBP")],
    "GIF": [(0, b"GIF87a"), (0, b"GIF89a")],
    "TIFF": [(0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0"), (0, b"MM\0+")],
    "JPEG2000": [(0, b"\0\0\0\x0cjP  \r\n\x87\n"), (0, b"\xff\x4f\xff\x51")],
    "JPEG XL": [(0, b"\xff\x0a"), (0, b"\0\0\0\x0cJXL ")],
    "Photoshop": [(0, b"8BPS")],
    "OpenEXR": [(0, b"v/1\x01")],
    "archive": [
        *((0, start) for start in (b"PK\x03\x04", b"7z\xbc\xaf'\x1c", b"Rar!", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")),
    ],
    "video": [(0, b"\x1aE\xdf\xa3"), (8, b"AVI ")],
}
# ISO base media files list the brands that their content follows.
_BRANDS = {
    "AVIF": (b"avif", b"avis"),
    "HEIF": (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"),
    "camera raw": (b"crx ",),
    "video": (b"",),
}
# Camera files begin as TIFF, and hold a small preview where TIFF has the image.
_RAW_SUFFIXES = (".dng", ".cr2", ".nef", ".arw", ".pef", ".orf", ".rw2", ".srw", ".raf", ".cr3")
# Sizes of the headers of BMP, from the first version to the fifth.
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_ARCHIVE_SUFFIXES = (".zip", ".7z", ".rar", ".gz", ".tgz", ".bz2", ".xz")
_ADVICE = {
    "AVIF": "this Pillow cannot read AVIF: convert them to PNG",
    "HEIF": "pip install pillow-heif, or convert them to PNG",
    "archive": "unpack them",
    "video": "extract their frames",
    **dict.fromkeys(("JPEG XL", "Photoshop", "OpenEXR", "camera raw"), "convert them to PNG"),
}


@functools.cache
def formats() -> tuple[str, ...]:
    """Returns Pillow's names of the formats that are read; HEIF among them if pillow-heif is installed."""
    names = list(_FORMATS)
    if "avif" in features.get_supported():
        names.append("AVIF")
    if importlib.util.find_spec("pillow_heif") is not None:
        importlib.import_module("pillow_heif").register_heif_opener()
        names.append("HEIF")
    Image.init()
    return tuple(name for name in names if name in Image.OPEN)


def kind(head: bytes, name: str = "") -> str | None:
    """Returns the kind of a file: one of `formats`, the name of a kind that is not read, or None if unknown.

    Args:
      head: its first `HEAD_BYTES` bytes.
      name: its name, which tells a camera's raw files.
    """
    if name.lower().endswith(_RAW_SUFFIXES):
        return "camera raw"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if re.match(rb"P[1-6]\s+[\d#]", head):
        return "PPM"
    if head[4:8] == b"ftyp":
        return next(found for found, brands in _BRANDS.items() if any(brand in head[8:] for brand in brands))
    for found, signatures in _SIGNATURES.items():
        if any(head[offset:].startswith(signature) for offset, signature in signatures):
            return found
    return None


def advice(found: str | None) -> str | None:
    """Returns what to do about files of a kind that is not read, or None if it is unknown."""
    return None if found is None else _ADVICE.get(found)


def left_out_line(files: Iterable[tuple[str, str | None]]) -> str | None:
    """Returns a log line that counts left-out files, given their names and kinds; None if there are none.

    For example: left out, as they are no images that can be read: 4 .heic (pip install pillow-heif, or convert them
    to PNG), 2 .txt.
    """
    counts: collections.Counter[tuple[str, str | None]] = collections.Counter()
    for name, found in files:
        suffix = os.path.splitext(name)[1].lower()
        words = advice(found) if found != "archive" or suffix in _ARCHIVE_SUFFIXES else None
        counts[suffix or "without suffix", words] += 1
    if not counts:
        return None
    parts = [f"{n} {suffix}" + (f" ({words})" if words else "") for (suffix, words), n in counts.most_common()]
    return f"left out, as they are no images that can be read: {', '.join(parts)}"
