"""Removes what keeps an image from being decoded though its pixels are sound: metadata, a missing end."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Collection, Iterator

# Lengths of tRNS by the colour type of the header; a palette has up to 256 entries.
_PNG_TRANSPARENCY: dict[int, Collection[int]] = {0: (2,), 2: (6,), 3: range(1, 257)}
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNK = struct.Struct(">I4s")
_PNG_CHECKED = (b"IHDR", b"PLTE", b"IDAT")
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf")
_JPEG_END = b"\xff\xd9"
# Markers without a length: TEM, RST0 to RST7, SOI.
_JPEG_BARE = {0x01, *range(0xD0, 0xD9)}
_JPEG_SCAN = 0xDA
_JPEG_FRAMES = (0xC0, 0xC1, 0xC2)
# Within the data of a scan, 0xFF precedes a zero or the number of a restart.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
# Comment and application data, but for Adobe's colour transform in APP14.
_JPEG_METADATA = {0xFE, *range(0xE0, 0xF0)} - {0xEE}
_JPEG_EXIF = b"\xff\xe1", b"Exif\0\0"
_WEBP_PIXELS = (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")
_WEBP_FLAGS = 0x1A  # alpha, EXIF data, animation
# Tags of TIFF 6.0 and of JPEG in TIFF that locate and describe pixels.
_TIFF_PIXELS = {
    *range(254, 260),
    *(262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332, 334, 338, 339, 347),
    *range(512, 522),
    *range(529, 533),
}


def has_wrong_checksum(file: bytes) -> bool:
    """True for a PNG file of which a chunk with pixels has a wrong CRC: Pillow does not check it."""
    position = len(_PNG_START) if file.startswith(_PNG_START) else len(file)
    while position + 12 <= len(file):
        length, name = _PNG_CHUNK.unpack_from(file, position)
        end = position + 8 + length
        checksum = file[end : end + 4]
        if name in _PNG_CHECKED and len(checksum) == 4:
            computed = zlib.crc32(memoryview(file)[position + 4 : end])
            if computed != int.from_bytes(checksum, "big"):
                return True
        position = end + 4
    return False


def without_metadata(file: bytes) -> bytes | None:
    """Returns a JPEG, PNG, TIFF or WebP file with only its pixels and EXIF data; None for others and damaged ones."""
    try:
        if file.startswith(_PNG_START):
            return _PNG_START + b"".join(_png_pixels(file))
        if file.startswith(b"\xff\xd8"):
            return b"".join(_jpeg_pixels(file))
        if file[8:12] == b"WEBP":
            return _webp_pixels(file)
        if file.startswith((b"II*\0", b"MM\0*")):
            return _tiff_pixels(file)
    except (ValueError, struct.error, IndexError):
        pass
    return None


def _png_pixels(file: bytes) -> Iterator[bytes]:
    """Yields the chunks with pixels; as in libpng, an ancillary chunk with a wrong CRC does not count."""
    position, color_type = len(_PNG_START), file[25]
    while position + 8 <= len(file):
        length, name = _PNG_CHUNK.unpack_from(file, position)
        end = position + 8 + length
        content, crc = file[position + 4 : end], file[end : end + 4]
        position = end + 4
        is_cut = len(crc) < 4
        is_sound = is_cut or zlib.crc32(content) == int.from_bytes(crc, "big")
        is_critical = name[:1].isupper()
        if is_critical and not (is_sound and name in _PNG_PIXELS):
            raise ValueError(f"damaged chunk {name!r}")
        if name == b"tRNS" and length not in _PNG_TRANSPARENCY.get(color_type, ()):
            continue
        if name in _PNG_PIXELS and is_sound and (is_critical or not is_cut):
            yield struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
        if name == b"IEND":
            return
    yield b"\0\0\0\0IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


def _jpeg_pixels(file: bytes) -> Iterator[bytes]:
    yield file[:2]
    position = 2
    while True:
        while file[position] == file[position + 1] == 0xFF:  # fill bytes
            position += 1
        if file[position] != 0xFF:
            raise ValueError("no marker")
        marker = file[position + 1]
        if marker == _JPEG_SCAN:
            yield file[position:]
            return
        length = 0 if marker in _JPEG_BARE else struct.unpack_from(">H", file, position + 2)[0]
        segment = file[position : position + 2 + length]
        if marker not in _JPEG_METADATA or (segment[:2], segment[4:10]) == _JPEG_EXIF:
            yield segment
        position += 2 + length


def has_all_scans(file: bytes) -> bool:
    """True if the scans of a JPEG file, the last of which may be cut, describe every coefficient in full."""
    if not file.startswith(b"\xff\xd8"):
        return False
    missing: set[tuple[int, int]] = set()
    position = 2
    while (found := _JPEG_MARKER.search(file, position)) is not None and found[0] != _JPEG_END:
        marker, position = found[0][1], found.end()
        if marker in _JPEG_BARE:
            continue
        length = int.from_bytes(file[position : position + 2], "big")
        segment = file[position + 2 : position + length]
        position += length
        if length < 2 or len(segment) < length - 2 or (marker == _JPEG_SCAN and len(segment) < 4):
            return False
        if marker in _JPEG_FRAMES:
            missing = {(component, index) for component in segment[6::3] for index in range(64)}
        elif marker == _JPEG_SCAN:
            first, last, approximation = segment[-3:]
            if approximation & 15 == 0:
                missing -= {(component, index) for component in segment[1:-3:2] for index in range(first, last + 1)}
    return not missing


def jpeg_ends(file: bytes) -> list[bytes]:
    """Returns a JPEG file with several endings in place of its own, if it has one.

    They all decode to the same pixels if the file holds all of them: what lies between the last pixel and the end
    marker does not count. Where pixels are missing, the fillers are decoded as such. Behind the end of a restart
    interval, that takes the marker of the next one.
    """
    end = file.rfind(_JPEG_END, file.rfind(b"\xff\xda"))
    # Zeros, as a download that was stopped leaves them, would be decoded as pixels.
    body = file[:end] if end >= 0 else re.sub(rb"(\x00{2,}|\xff+)+\Z", b"", file)
    fillers = [filler * 512 for filler in (b"", b"\0", b"\x55", b"\xaa")]
    for filler in (b"\x55", b"\xaa"):
        fillers.append(b"".join(filler * 64 + bytes((0xFF, 0xD0 + number)) for number in range(8)) * 2)
    return [body + filler + _JPEG_END for filler in fillers]


def has_end(file: bytes) -> bool:
    """True if the last scan of a JPEG file is followed by an end marker."""
    return file.find(_JPEG_END, file.rfind(b"\xff\xda")) >= 0


def _webp_pixels(file: bytes) -> bytes:
    """Drops other chunks than those of pixels and a whole one of EXIF data."""
    parts, position = [], 12
    while position + 8 <= len(file):
        name, length = struct.unpack_from("<4sI", file, position)
        content = file[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
        if len(content) < length and name in _WEBP_PIXELS:
            raise ValueError(f"damaged chunk {name!r}")
        if name == b"VP8X":
            content = bytes([content[0] & _WEBP_FLAGS]) + content[1:]
        if name in _WEBP_PIXELS or (name == b"EXIF" and len(content) == length):
            parts.append(name + struct.pack("<I", length) + content + bytes(length % 2))
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _tiff_pixels(file: bytes) -> bytes:
    """Drops the other entries of the first directory."""
    order = "<" if file.startswith(b"II") else ">"
    start = struct.unpack_from(order + "I", file, 4)[0]
    count = struct.unpack_from(order + "H", file, start)[0]
    entries = [file[start + 2 + 12 * index : start + 14 + 12 * index] for index in range(count)]
    kept = [entry for entry in entries if struct.unpack_from(order + "H", entry)[0] in _TIFF_PIXELS]
    directory = struct.pack(order + "H", len(kept)) + b"".join(kept) + bytes(4)
    return file[:start] + directory + file[start + len(directory) :]
