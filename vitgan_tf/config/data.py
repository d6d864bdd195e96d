"""The images of a training: which they are, and where they lie."""

from __future__ import annotations

import dataclasses
import os

from vitgan_tf.config.fields import Section, field
from vitgan_tf.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class DataConfig(Section):
    """Training images."""

    dataset: str = field("name of the data set")
    image_size: int = field("edge of the square images, in pixels", minimum=1, maximum=8192)
    num_channels: int = field("number of colour channels", choices=(1, 3))
    flip: bool = field("random horizontal flip with p = 0.5", default=False)
    value_range: tuple[float, ...] = field(
        "two pixel values, LOW,HIGH, that become black and white; by default, 0 and the largest of 8 or 16 bits",
        default=(),
    )
    holdout: float = field(
        "fraction of the images of a folder that is held out for the evaluation split",
        default=0.0,
        minimum=0.0,
        below=1.0,
    )
    classes: tuple[int, ...] = field(
        "numbers of the classes whose images are used, of a labelled set; empty = all", default=(), minimum=0
    )
    skin_tones: bool = field("whether emoji are used in all their skin tones", default=False)
    category: str = field("category of LSUN in place of bedroom, such as church_outdoor or cat", default="")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.value_range and (len(self.value_range) != 2 or self.value_range[0] >= self.value_range[1]):
            raise ConfigError(
                f"data.value_range must be two numbers, the lower first, got {', '.join(map(str, self.value_range))}"
            )


# Pillow's limit against images that are small on disk but fill the memory.
DEFAULT_MEGAPIXELS = 89.478485


@dataclasses.dataclass(frozen=True)
class DataLocation:
    """Local paths and limits for data and pretrained weights. They do not change the training.

    Attributes:
      data_dir: folder of the data sets, local or gs://; defaults to TFDS_DATA_DIR, then ~/tensorflow_datasets. For
        the data set "folder", the folder of the images themselves.
      download: whether missing data sets and missing modules of TensorFlow Hub may be downloaded.
      memory_gb: limit in 10^9 bytes up to which decoded images are kept in memory; larger sets are kept on disk.
      cache_dir: local folder for decoded images that exceed memory_gb, and for statistics of real images.
      inception: unpacked TensorFlow Hub module of tensorflow-gan's Inception, or weights file of Keras'; by default,
        the folders of those libraries are searched.
      verify: whether the checksum of cached images is compared in full, not only their size, date and a sample.
      holdout_dir: for the data set "folder", folder of the images of the evaluation split.
      max_megapixels: number of pixels, in millions, above which an image is refused; 0 for no limit.
    """

    data_dir: str | None = None
    download: bool = False
    memory_gb: float = 4.0
    cache_dir: str = "~/.cache/vitgan_tf"
    inception: str | None = None
    verify: bool = False
    holdout_dir: str | None = None
    max_megapixels: float = DEFAULT_MEGAPIXELS

    def __post_init__(self) -> None:
        # Shells do not expand the ~ in --data_dir=~/images.
        for name in ("data_dir", "cache_dir", "inception", "holdout_dir"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, os.path.expanduser(getattr(self, name)))
