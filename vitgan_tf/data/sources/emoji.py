"""Noto Emoji from the npm package emoji-datasource-google."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from vitgan_tf.data.sources.archive import read_tar
from vitgan_tf.data.sources.base import (
    ImageSource,
    MissingFilesError,
    contents,
    entries,
    find_below,
    paths_below,
    read_file,
)
from vitgan_tf.errors import UserError
from vitgan_tf.files import parsed_json

PACKAGE = "emoji-datasource-google"
_LIST, _IMAGES = "emoji.json", "img/google/64"
# Swatches of the skin tones themselves.
_SWATCHES = "Component"
# One of so many base emoji is held out for evaluation.
_HELD_OUT_OF = 10


class _Emoji(NamedTuple):
    image: str
    base: str
    category: str
    is_variant: bool


def emoji(path: str, split: str, skin_tones: bool = False) -> ImageSource:
    """Noto Emoji, 64 x 64 with transparency, labelled by category.

    Splits are by base emoji: all skin tones of an emoji are in the same one.

    Args:
      path: package as npm packs it (.tgz), a folder that holds it, or the unpacked package.
      split: "training", or "evaluation", a tenth of the base emoji.
      skin_tones: whether the variants by skin tone, and the swatches of the tones, are images too.

    Raises:
      MissingFilesError, UserError: files are missing or damaged.
    """
    place, files = _files(path)
    listed = [one for one in _listed(place, files) if skin_tones or not _is_skin_tone(one)]
    class_names = tuple(sorted({one.category for one in listed}))
    wanted = sorted(one for one in listed if _is_held_out(one.base) == (split == "evaluation"))
    found = [one for one in wanted if one.image in files]
    if not found:
        raise MissingFilesError(f"{place!r} has none of the {len(wanted)} emoji of the {split} split")
    missing = len(wanted) - len(found)
    return ImageSource(
        [one.image for one in found],
        lambda index: files[found[index].image],
        lambda index: zlib.crc32(files[found[index].image]),
        notes=[f"{missing} of {len(wanted)} emoji are not in {place!r}: the others are used"] if missing else [],
        labels=np.array([class_names.index(one.category) for one in found]),
        class_names=class_names,
    )


def _is_skin_tone(one: _Emoji) -> bool:
    return one.is_variant or one.category == _SWATCHES


def _is_held_out(base: str) -> bool:
    return zlib.crc32(base.encode()) % _HELD_OUT_OF == 0


def _files(path: str) -> tuple[str, dict[str, bytes]]:
    """Returns where the package is, and its list and pictures by file name."""
    archive = path if os.path.isfile(path) else _archive_below(path)
    if archive is not None:
        return archive, _archived(archive)
    listed = find_below(path, _LIST)
    if listed is None:
        raise MissingFilesError(f"no emoji, the npm package {PACKAGE} is needed: {contents(path)}")
    return os.path.dirname(listed), _unpacked(os.path.dirname(listed))


def _archive_below(path: str) -> str | None:
    found = (one for one in paths_below(path) if os.path.basename(one).startswith(PACKAGE) and os.path.isfile(one))
    return next(found, None)


def _archived(archive: str) -> dict[str, bytes]:
    def wanted(path: str) -> bool:
        name = path.partition("/")[2]
        return name == _LIST or os.path.dirname(name) == _IMAGES

    return read_tar(archive, wanted)


def _unpacked(root: str) -> dict[str, bytes]:
    folder = os.path.join(root, _IMAGES)
    try:
        names = [os.path.join(folder, name) for name in (entries(folder) if os.path.isdir(folder) else ())]
        return {os.path.basename(name): read_file(name) for name in [os.path.join(root, _LIST), *names]}
    except OSError as error:
        raise UserError(f"cannot read emoji from {root!r}: {error}") from error


def _listed(place: str, files: dict[str, bytes]) -> list[_Emoji]:
    """Returns the emoji of the package's list.

    Raises:
      UserError: it is not there or not such a list.
    """
    if _LIST not in files:
        raise MissingFilesError(f"{place!r} is not {PACKAGE}: it has no {_LIST}")
    try:
        return [one for entry in parsed_json(files[_LIST]) for one in _variants(entry)]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{place!r} is damaged: {_LIST} is not a list of emoji ({error!r})") from error


def _variants(entry: dict) -> Iterator[_Emoji]:
    base, category = str(entry["unified"]), str(entry["category"])
    yield _Emoji(str(entry["image"]), base, category, False)
    for variant in entry.get("skin_variations", {}).values():
        yield _Emoji(str(variant["image"]), base, category, True)
