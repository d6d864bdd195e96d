"""Prepares official files as a resized data set in TFDS format, shard by shard, so that interruptions cost little."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf
from absl import logging

from vitgan_tf.config import DataConfig
from vitgan_tf.data.decoding import DecodedImage, Preprocessing, RawImage, decode_all, encode_png
from vitgan_tf.data.labels import ImageKey
from vitgan_tf.data.opening import BadImageError
from vitgan_tf.data.reading import Findings
from vitgan_tf.data.registry import DatasetSpec
from vitgan_tf.data.shards import Shard, set_features, shard_identity, split_info
from vitgan_tf.data.sources.base import ImageSource, MissingFilesError
from vitgan_tf.data.tfds_sets import PREPARED_SPLITS, PREPARED_VERSION
from vitgan_tf.errors import UserError, first_line
from vitgan_tf.files import only_one, printable, write_atomically
from vitgan_tf.progress import progress

SHARD_IMAGES = 8192
_NO_IMAGE = "not an image that can be read"
DecodedPng = tuple[DecodedImage, bytes]
SKIPPED_FILE = "skipped.txt"


@dataclasses.dataclass(frozen=True)
class PreparedSet:
    """Result of `prepare`.

    Attributes:
      directory: folder of the set, including its version.
      num_images: number of images by split.
      skipped: name and reason of each skipped file.
      lines: what the user should know about the files.
    """

    directory: str
    num_images: dict[str, int]
    skipped: list[tuple[str, str]]
    lines: list[str]


def prepare(
    spec: DatasetSpec,
    config: DataConfig,
    source_dir: str,
    data_dir: str,
    name: str | None = None,
    strict: bool = False,
    num_threads: int | None = None,
    shard_images: int = SHARD_IMAGES,
) -> PreparedSet:
    """Decodes, crops and resizes all images once, and writes them as PNG into TFRecord shards.

    The shards are written to `<version>.partial`, which is renamed when the set is complete. Finished shards survive
    an interruption: the next call writes the missing ones and those whose images changed.

    Args:
      spec: data set to prepare.
      config: image size and number of channels.
      source_dir: folder of the official files.
      data_dir: local folder of the data sets.
      name: name of the set, instead of the spec's family.
      strict: whether to fail on the first unusable file.
      num_threads: number of decoding threads; by default one per core.
      shard_images: source images per shard.

    Raises:
      UserError: files are missing or, with strict, unusable; the disk is full; another process is preparing the set;
        or the set already exists.
    """
    if "://" in data_dir:
        raise UserError(f"cannot prepare into {data_dir!r}: prepare into a local folder, then copy the set there")
    set_name = spec.prepared_name(config, name)
    directory = os.path.join(data_dir, set_name, PREPARED_VERSION)
    _check_not_there(directory)
    sources = _sources(spec, source_dir)
    remarks = list(dict.fromkeys(line for source in sources.values() for line in source.remarks()))
    others = list(dict.fromkeys(name for source in sources.values() for name, _ in source.others))
    if strict and others:
        raise UserError(f"{others[0]}: {_NO_IMAGE} (--strict)")
    partial = directory + ".partial"
    preprocessing = spec.preprocessing(config)
    try:
        with only_one(partial):
            if os.path.exists(directory):  # another process has finished it meanwhile
                shutil.rmtree(partial)
            _check_not_there(directory)
            shards = _shards(sources, preprocessing, shard_images, partial, set_name)
            _write_shards(shards, preprocessing, strict, num_threads)
            return _finish(shards, preprocessing, directory, others, remarks)
    except BlockingIOError as error:
        raise UserError(f"another process is preparing {directory!r}") from error
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise UserError(
            f"cannot write {directory!r} ({reason}): solve this and run the same command again, "
            "finished shards are kept"
        ) from error


def _sources(spec: DatasetSpec, source_dir: str) -> dict[str, ImageSource]:
    """Returns the images of each split that is there, with labels if the training images have them."""
    sources = {"training": spec.source(source_dir, "training")}
    try:
        sources["evaluation"] = spec.source(source_dir, "evaluation")
    except MissingFilesError as error:
        logging.info("no evaluation split: %s", error)
    class_names = sources["training"].class_names
    return {split: source.relabelled(class_names) for split, source in sources.items()}


def _check_not_there(directory: str) -> None:
    if os.path.exists(directory):
        raise UserError(f"{directory!r} already exists: delete it to prepare it again")


def _shards(
    sources: dict[str, ImageSource], preprocessing: Preprocessing, shard_images: int, partial: str, set_name: str
) -> list[Shard]:
    """Returns all shards; deletes all other files that an earlier call left in the folder."""
    shards = []
    for split, source in sources.items():
        count = math.ceil(len(source) / shard_images)
        for index in range(count):
            start, stop = index * shard_images, min(len(source), (index + 1) * shard_images)
            identity = shard_identity(source, start, stop, preprocessing)
            path = os.path.join(partial, f"{PREPARED_SPLITS[split]}-{index:05d}")
            final_name = f"{set_name}-{PREPARED_SPLITS[split]}.tfrecord-{index:05d}-of-{count:05d}"
            shards.append(Shard(split, source, start, stop, identity, path, final_name))
    kept = {".lock", *(os.path.basename(path) for shard in shards for path in (shard.path, shard.record_path))}
    for entry in os.scandir(partial):
        if entry.name not in kept:
            os.remove(entry.path)
    return shards


def _write_shards(shards: list[Shard], preprocessing: Preprocessing, strict: bool, num_threads: int | None) -> None:
    """Writes the unfinished shards, and those with skipped files, which may have been repaired."""
    pending = [shard for shard in shards if (record := shard.record()) is None or record["skipped"]]
    total = sum(shard.stop - shard.start for shard in shards)
    todo = sum(shard.stop - shard.start for shard in pending)
    logging.info("%d images in %d shards, %d already finished", total, len(shards), len(shards) - len(pending))

    def png(raw: RawImage) -> DecodedPng:
        decoded = preprocessing.decode(raw)
        return decoded, encode_png(decoded.pixels)

    def results() -> Iterator[tuple[Shard, ImageKey, DecodedPng | BadImageError]]:
        for shard in pending:
            for key, result in decode_all(shard.source.items(shard.start, shard.stop), png, num_threads):
                if strict and isinstance(result, BadImageError):
                    raise UserError(f"{key.name}: {result} (--strict)")
                yield shard, key, result

    features = set_features(preprocessing, shards[0].source.class_names)
    shown = progress(results(), "preparing", total, "image", done=total - todo)
    for shard, group in itertools.groupby(shown, key=lambda result: result[0]):
        _write_shard(shard, ((key, result) for _, key, result in group), features)


def _write_shard(shard: Shard, results: Iterable[tuple[ImageKey, DecodedPng | BadImageError]], features: Any) -> None:
    if os.path.exists(shard.path):  # rebuilt: record and images must match
        os.remove(shard.path)
    partial_path = shard.path + ".partial"
    count, findings = 0, Findings()
    with tf.io.TFRecordWriter(partial_path) as writer:
        for (name, label), result in results:
            if isinstance(result, BadImageError):
                findings.add(name, result)
            else:
                decoded, png = result
                findings.add(name, decoded)
                example = {"image": io.BytesIO(png), **({} if label is None else {"label": label})}
                writer.write(features.serialize_example(features.encode_example(example)))
                count += 1
    with open(partial_path, "rb") as file:
        os.fsync(file.fileno())
    record = {"identity": shard.identity, "count": count, **findings.as_dict()}
    write_atomically(shard.record_path, json.dumps(record).encode())
    os.replace(partial_path, shard.path)


def _finish(
    shards: list[Shard], preprocessing: Preprocessing, directory: str, others: list[str], remarks: list[str]
) -> PreparedSet:
    """Writes the metadata, removes the working files and gives the folder its final name."""
    import tensorflow_datasets as tfds

    partial = directory + ".partial"
    records = [shard.written_record() for shard in shards]
    findings = Findings()
    for record in records:
        findings.merge(Findings.from_dict(record))
    num_images = {shard.split: 0 for shard in shards}
    for shard, record in zip(shards, records):
        num_images[shard.split] += record["count"]
    if not num_images["training"]:
        name, reason = findings.skipped[0]
        raise UserError(f"no image can be used; the first: {name}: {reason}")
    num_images = {split: count for split, count in num_images.items() if count}
    set_name = os.path.basename(os.path.dirname(directory))
    template = tfds.core.ShardedFileTemplate(partial, dataset_name=set_name, filetype_suffix="tfrecord")
    infos = [split_info(split, shards, records, template) for split in num_images]
    _name_shards(shards, num_images, partial)
    tfds.folder_dataset.write_metadata(
        data_dir=partial,
        features=set_features(preprocessing, shards[0].source.class_names),
        split_infos=infos,
        version=PREPARED_VERSION,
        filename_template=template,
        check_data=False,
    )
    skipped = [*((name, _NO_IMAGE) for name in others), *findings.skipped]
    _write_skipped(skipped, partial)
    os.rename(partial, directory)
    os.remove(os.path.join(directory, ".lock"))
    return PreparedSet(directory, num_images, skipped, [*remarks, *findings.lines(preprocessing.value_range)])


def _name_shards(shards: list[Shard], splits: Iterable[str], partial: str) -> None:
    """Gives the shards of these splits their final names; removes the others and all records."""
    for shard in shards:
        if shard.split in splits:
            os.replace(shard.path, os.path.join(partial, shard.final_name))
        else:
            os.remove(shard.path)
        os.remove(shard.record_path)


def _write_skipped(skipped: list[tuple[str, str]], partial: str) -> None:
    if skipped:
        lines = "".join(f"{printable(name)}: {printable(reason)}\n" for name, reason in skipped)
        write_atomically(os.path.join(partial, SKIPPED_FILE), lines.encode())
