"""Data sets: where their files come from and how they are usually preprocessed. See `choices.DATASETS`."""

from __future__ import annotations

import dataclasses
import os
from typing import Callable

import numpy as np

from vitgan_tf.config import DataConfig
from vitgan_tf.data.decoding import Preprocessing
from vitgan_tf.data.digits import load_digits
from vitgan_tf.data.sources.base import ImageSource
from vitgan_tf.data.sources.celeba import celeba
from vitgan_tf.data.sources.cifar10 import cifar10
from vitgan_tf.data.sources.folder import image_folder
from vitgan_tf.data.sources.lsun import lsun
from vitgan_tf.data.sources.mnist import mnist
from vitgan_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class ArrayDataset:
    """A data set created in memory.

    Attributes:
      load: data configuration, split ("training" or "evaluation") -> (num_images, size, size, channels) uint8.
    """

    load: Callable[[DataConfig, str], np.ndarray]


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
      unpack: whether they must be unpacked.
    """

    family: str
    source: Callable[[str, str], ImageSource]
    center_crop: int | None = None
    pad_to: int | None = None
    tfds_name: str = ""
    tfds_splits: tuple[tuple[str, str], ...] = (("training", "train"), ("evaluation", "test"))
    files: tuple[str, ...] = ()
    url: str = ""
    unpack: bool = False

    def preprocessing(self, config: DataConfig) -> Preprocessing:
        """Returns the preprocessing for the configured size and number of channels."""
        return Preprocessing(config.image_size, config.num_channels, self.center_crop, self.pad_to)

    def prepared_name(self, config: DataConfig, name: str | None = None) -> str:
        """Returns the TFDS name of the set that tools/prepare_data.py writes."""
        return f"vitgan_{name or self.family}_{config.image_size}x{config.image_size}x{config.num_channels}"

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
)
LSUN_BEDROOM = DatasetSpec(
    family="lsun_bedroom",
    source=lsun,
    tfds_name="lsun/bedroom",
    tfds_splits=(("training", "train"), ("evaluation", "validation")),
    files=("bedroom_train_lmdb.zip", "bedroom_val_lmdb.zip"),
    unpack=True,
    url="http://dl.yf.io/lsun/scenes/",
)

CIFAR10 = DatasetSpec(
    family="cifar10",
    source=cifar10,
    tfds_name="cifar10",
    files=("cifar-10-binary.tar.gz",),
    url="https://www.cs.toronto.edu/~kriz/cifar.html",
)
MNIST = DatasetSpec(
    family="mnist",
    source=mnist,
    pad_to=32,
    tfds_name="mnist",
    files=("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"),
    url="https://storage.googleapis.com/cvdf-datasets/mnist/",
)
FOLDER = DatasetSpec(family="folder", source=image_folder)


def _digits(config: DataConfig, split: str) -> np.ndarray:
    if config.num_channels != 1:
        raise UserError(f"the digits have one channel, not {config.num_channels}: set --data.num_channels=1")
    return load_digits(config.image_size)[0]


DIGITS = ArrayDataset(_digits)
