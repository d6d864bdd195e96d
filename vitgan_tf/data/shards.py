"""Shards of a prepared set: their records, and their entries in the metadata."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from typing import Any

from vitgan_tf.data.decoding import Preprocessing
from vitgan_tf.data.sources.base import ImageSource
from vitgan_tf.data.tfds_sets import PREPARED_SPLITS


@dataclasses.dataclass(frozen=True)
class Shard:
    """A range of a split's images, with the path of its TFRecord file and of the JSON record beside it.

    Attributes:
      identity: hash of the images, their labels and their preprocessing; a shard with another identity is rebuilt.
      path: path during preparation.
      final_name: file name in the finished set.
    """

    split: str
    source: ImageSource
    start: int
    stop: int
    identity: str
    path: str
    final_name: str

    @property
    def record_path(self) -> str:
        """Path of the record."""
        return self.path + ".json"

    def record(self) -> dict | None:
        """Returns identity, image count and findings (see `Findings.as_dict`); None if the shard is not finished."""
        if not (os.path.isfile(self.path) and os.path.isfile(self.record_path)):
            return None
        record = self.written_record()
        return record if record["identity"] == self.identity else None

    def written_record(self) -> dict:
        """Reads the record of a finished shard."""
        with open(self.record_path, encoding="utf-8") as file:
            return json.load(file)


def shard_identity(source: ImageSource, start: int, stop: int, preprocessing: Preprocessing) -> str:
    """Returns `Shard.identity`."""
    text = f"{preprocessing} {source.identity(start, stop)}"
    if source.labels is not None:
        text += f" {source.class_names} {source.labels[start:stop].tolist()}"
    return hashlib.sha256(text.encode()).hexdigest()


def set_features(preprocessing: Preprocessing, class_names: tuple[str, ...] | None) -> Any:
    """Returns the features of a prepared set: "image", and "label" if there are classes."""
    import tensorflow_datasets as tfds

    features = {"image": tfds.features.Image(shape=preprocessing.shape, encoding_format="png")}
    if class_names is not None:
        features["label"] = tfds.features.ClassLabel(names=list(class_names))
    return tfds.features.FeaturesDict(features)


def split_info(split: str, shards: list[Shard], records: list[dict], template: Any) -> Any:
    """Returns the entry of a split in tensorflow-datasets' metadata."""
    import tensorflow_datasets as tfds

    of_split = [(shard, record) for shard, record in zip(shards, records) if shard.split == split]
    return tfds.core.SplitInfo(
        name=PREPARED_SPLITS[split],
        shard_lengths=[record["count"] for _, record in of_split],
        num_bytes=sum(os.path.getsize(shard.path) for shard, _ in of_split),
        filename_template=template.replace(split=PREPARED_SPLITS[split]),
    )
