"""Data sets: where their files come from and how they are usually preprocessed. See `choices.DATASETS`."""

from __future__ import annotations

import dataclasses
import functools
import os
from typing import Callable

import numpy as np

from vitgan_tf.config import DataConfig, DataLocation
from vitgan_tf.config.choices import DATASETS, LSUN_CATEGORIES, LSUN_SCENES
from vitgan_tf.data.decoding import Preprocessing
from vitgan_tf.data.digits import NUM_CLASSES, load_digits
from vitgan_tf.data.labels import LabelledImages
from vitgan_tf.data.sources.base import ImageSource
from vitgan_tf.data.sources.celeba import celeba
from vitgan_tf.data.sources.cifar10 import cifar10
from vitgan_tf.data.sources.emoji import PACKAGE, emoji
from vitgan_tf.data.sources.folder import image_folder
from vitgan_tf.data.sources.lsun import lsun
from vitgan_tf.data.sources.mnist import mnist
from vitgan_tf.errors import UserError, did_you_mean


@dataclasses.dataclass(frozen=True)
class ArrayDataset:
    """A data set created in memory.

    Attributes:
      load: data configuration, split ("training" or "evaluation") -> (num_images, size, size, channels) uint8, or
        these images with labels.
    """

    load: Callable[[DataConfig, str], np.ndarray | LabelledImages]


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """A data set whose files the user has to fetch.

    Attributes:
      family: name of the images at any resolution: celeba64 and celeba128 are both "celeba".
      source: folder of the official files, split -> images of the split.
      center_crop: see `Preprocessing`.
      pad_to: see `Preprocessing`.
      tfds_name: name in tensorflow-datasets, including its configuration; empty if it is not there.
      tfds_splits: name of each split in tensorflow-datasets.
      files: official files to fetch.
      url: address of these files.
      other_names: names of other files and folders that show that the set was downloaded.
      label_advice: how a set gets labels that were not found; empty if it has no classes.
    """

    family: str
    source: Callable[[str, str], ImageSource]
    center_crop: int | None = None
    pad_to: int | None = None
    tfds_name: str = ""
    tfds_splits: tuple[tuple[str, str], ...] = (("training", "train"), ("evaluation", "test"))
    files: tuple[str, ...] = ()
    url: str = ""
    other_names: tuple[str, ...] = ()
    label_advice: str = ""

    def preprocessing(self, config: DataConfig) -> Preprocessing:
        """Returns the preprocessing for the configured size, number of channels and range of pixel values."""
        value_range = (config.value_range[0], config.value_range[1]) if config.value_range else None
        return Preprocessing(config.image_size, config.num_channels, self.center_crop, self.pad_to, value_range)

    def prepared_name(self, config: DataConfig, name: str | None = None) -> str:
        """Returns the TFDS name of the set that tools/prepare_data.py writes."""
        family = f"{self.family}_skin_tones" if config.skin_tones else self.family
        return f"vitgan_{name or family}_{config.image_size}x{config.image_size}x{config.num_channels}"

    def raw_dir(self, data_dir: str) -> str:
        """Returns the default folder of the official files."""
        return os.path.join(data_dir, "raw", self.family)


CELEBA = DatasetSpec(
    family="celeba",
    source=celeba,
    center_crop=140,
    tfds_name="celeb_a",
    files=("img_align_celeba.zip", "list_eval_partition.txt"),
    url="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    other_names=("list_eval_partition.csv", "img_align_celeba", "img_align_celeba_png"),
)


def _lsun(category: str) -> DatasetSpec:
    is_scene = category in LSUN_SCENES
    return DatasetSpec(
        family=f"lsun_{category}",
        source=functools.partial(lsun, category=category),
        tfds_name=f"lsun/{category}",
        tfds_splits=(("training", "train"), ("evaluation", "validation")),
        files=(f"{category}_train_lmdb.zip", f"{category}_val_lmdb.zip") if is_scene else (f"{category}.zip",),
        url=f"http://dl.yf.io/lsun/{'scenes' if is_scene else 'objects'}/",
        other_names=(f"{category}_train_lmdb", f"{category}_train"),
    )


LSUN_BEDROOM = _lsun("bedroom")
CIFAR10 = DatasetSpec(
    family="cifar10",
    source=cifar10,
    tfds_name="cifar10",
    files=("cifar-10-binary.tar.gz",),
    url="https://www.cs.toronto.edu/~kriz/cifar.html",
    other_names=("cifar-10-python.tar.gz", "data_batch_1.bin", "data_batch_1"),
    label_advice="delete the prepared set and prepare it again",
)
MNIST = DatasetSpec(
    family="mnist",
    source=mnist,
    pad_to=32,
    tfds_name="mnist",
    files=("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"),
    url="https://storage.googleapis.com/cvdf-datasets/mnist/",
    other_names=("train-images-idx3-ubyte", "train-images.idx3-ubyte"),
    label_advice="delete the prepared set and prepare it again with train-labels-idx1-ubyte.gz beside the images",
)
_EMOJI_FILE = f"{PACKAGE}-16.0.0.tgz"
EMOJI = DatasetSpec(
    family="emoji",
    source=emoji,
    files=(_EMOJI_FILE,),
    url=f"https://registry.npmjs.org/{PACKAGE}/-/{_EMOJI_FILE}",
    other_names=(PACKAGE, "emoji.json"),
)
FOLDER = DatasetSpec(
    family="folder",
    source=image_folder,
    label_advice="give each class a subfolder with all its images, and prepare the set again if it is a prepared one",
)


def _digits(config: DataConfig, split: str) -> LabelledImages:
    if config.num_channels != 1:
        raise UserError(f"the digits have one channel, not {config.num_channels}: train with --data.num_channels=1")
    return LabelledImages(*load_digits(config.image_size), tuple(map(str, range(NUM_CLASSES))))


DIGITS = ArrayDataset(_digits)


def dataset_spec(config: DataConfig, location: DataLocation | None = None) -> DatasetSpec | ArrayDataset:
    """Returns the data set of a configuration, with the fields that belong to this set alone.

    Raises:
      UserError: there is no such data set or category, or the set takes neither.
    """
    if config.dataset not in DATASETS:
        raise UserError(f"there is no data set {config.dataset!r}: choose one of {', '.join(DATASETS)}")
    spec = DATASETS[config.dataset]
    holdout_dir = None if location is None else location.holdout_dir
    if config.category and spec is not LSUN_BEDROOM:
        raise UserError("--category is for LSUN only: --dataset=lsun_bedroom64 or --dataset=lsun_bedroom128")
    if (config.holdout or holdout_dir is not None) and spec is not FOLDER:
        raise UserError("--holdout and --holdout_dir are for --dataset=folder only")
    if config.value_range and isinstance(spec, ArrayDataset):
        raise UserError(f"--value_range does not apply to {config.dataset}, whose images are made in memory")
    if config.skin_tones:
        if spec is not EMOJI:
            raise UserError("--skin_tones is for --dataset=emoji only")
        return dataclasses.replace(EMOJI, source=functools.partial(emoji, skin_tones=True))
    if config.category:
        if config.category not in LSUN_CATEGORIES:
            known = did_you_mean(config.category, LSUN_CATEGORIES)
            raise UserError(
                f"LSUN has no category {config.category!r}{known} (available: {', '.join(LSUN_CATEGORIES)})"
            )
        return _lsun(config.category)
    if spec is FOLDER:
        source = functools.partial(image_folder, holdout=config.holdout, holdout_dir=holdout_dir)
        return dataclasses.replace(FOLDER, source=source)
    return spec
