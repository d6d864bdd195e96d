"""The flags that commands share: configuration fields, data, devices.

Importing this module defines no flag and imports no TensorFlow: `--help` stays quick.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from typing import Any, Callable

from absl import flags

from vitgan_tf import config as config_lib
from vitgan_tf.commands.plugins import define_plugin_flag
from vitgan_tf.config import aliases
from vitgan_tf.invocation import invocation
from vitgan_tf.presets import PRESETS, VARIANTS, network_names

# Flags count as those of the main module, so that its --help lists them.
flags.disclaim_key_flags()

DEFAULT_PRESET = "digits"
# The paper's method: default of --variant, --generator and --discriminator.
DEFAULT_VARIANT = "vitgan"
_MAX_PATH_BYTES = 4095  # Linux's limit


class _PathParser(flags.ArgumentParser):
    """Parses a path and expands its ~, which shells leave alone in --name=~/folder.

    Args:
      suffixes: endings of which the path must have one, in any case; none for any.
    """

    def __init__(self, suffixes: Sequence[str] = ()):
        super().__init__()
        self._suffixes = tuple(suffixes)

    def parse(self, argument: str) -> str:
        if not argument:
            raise ValueError("a path cannot be empty")
        try:
            num_bytes = len(argument.encode())
        except UnicodeEncodeError as error:  # sys.argv holds lone surrogates, which TensorFlow refuses
            raise ValueError("a path must be UTF-8") from error
        if num_bytes > _MAX_PATH_BYTES or "\0" in argument:
            raise ValueError(f"a path must have at most {_MAX_PATH_BYTES} bytes and no null bytes")
        if self._suffixes and not argument.lower().endswith(self._suffixes):
            raise ValueError(f"the file's name must end in {' or '.join(self._suffixes)}")
        return os.path.expanduser(argument)


class _FiniteParser(flags.FloatParser):
    def parse(self, argument: str | float) -> float:
        value = super().parse(argument)
        if not math.isfinite(value):
            raise ValueError("must be a finite number")
        return value


class _NumbersParser(flags.ArgumentParser):
    syntactic_help = "numbers, separated by commas"

    def __init__(self, number: Callable[[str], Any]):
        super().__init__()
        self._number = number

    def parse(self, argument: str | list[Any]) -> list[Any]:
        return [self._number(part) for part in argument.split(",")] if isinstance(argument, str) else argument


class _EdgeParser(flags.IntegerParser):
    """Parses the edge of a square image, also when it is written as 64x64."""

    def parse(self, argument: str | int) -> int:
        size = re.fullmatch(r"(\d+)\s*[xX*,]\s*(\d+)", str(argument))
        if size is None:
            return super().parse(argument)
        edge = min(int(size[1]), int(size[2]))
        if size[1] != size[2]:
            raise ValueError(f"images are square: {edge} takes the largest centred square of each picture")
        return edge


def define_path(
    name: str,
    default: str | None,
    help_text: str,
    required: bool = False,
    suffixes: Sequence[str] = (),
    is_single: bool = False,
) -> None:
    """Defines a flag for a local or remote path, which cannot be empty; its ~ is expanded.

    Where only some formats can be written, suffixes lists the endings that the file's name may have. Where is_single
    is true, the flag is refused if it is given twice: the user may expect the images of both folders.
    """
    flags.DEFINE(
        _PathParser(suffixes),
        name,
        default,
        help_text,
        serializer=flags.ArgumentSerializer(),
        required=required,
        allow_overwrite=not is_single,
    )


def define_amount(name: str, default: float, help_text: str, upper_bound: float | None = None) -> None:
    """Defines a flag for a finite number that is not negative."""
    parser = _FiniteParser(lower_bound=0.0, upper_bound=upper_bound)
    flags.DEFINE(parser, name, default, help_text, serializer=flags.ArgumentSerializer())


def define_config_flags() -> None:
    """Defines --plugin, --config, --dataset, --variant, --generator, --discriminator, and a flag for each field.

    A field is set by its path, --train.batch_size=64, or, where no other section has a field of that name, by its
    name alone, --batch_size=64.
    """
    define_plugin_flag()
    define_path(
        "config",
        None,
        "Configuration file, such as the config.json of a run; replaces --dataset, --variant, --generator and "
        "--discriminator.",
    )
    presets = "; ".join(f"{name}: {(function.__doc__ or '').split('.')[0]}" for name, function in PRESETS.items())
    flags.DEFINE_string("dataset", DEFAULT_PRESET, f"Preset. {presets}.")
    flags.DEFINE_string(
        "variant",
        DEFAULT_VARIANT,
        "Row of the paper's tables, as changes to the preset: vitgan, the method; vanilla_vit, stylegan2, transgan "
        "and biggan, baselines; stylegan2_d, StyleGAN2's discriminator; g_*, ablations of the generator's style "
        "input and pixel decoder; d_*, ablations of the discriminator's regularisation, augmentation and patch "
        "overlap. "
        f"Choices: {', '.join(VARIANTS)}.",
    )
    for network in ("generator", "discriminator"):
        flags.DEFINE_string(
            network,
            DEFAULT_VARIANT,
            f"The {network}, with its regulariser, loss and learning rate: vitgan, the method; vanilla_vit, a plain "
            f"vision transformer; or a baseline. Choices: {', '.join(network_names(network))}.",
        )
    define_field_flags()
    for old, new in aliases.FIELDS.items():
        flags.DEFINE_alias(old, new)
    flags.DEFINE_alias("resolution", "data.image_size")


def define_field_flags(section: str = "", default: str = "the preset's", except_fields: Sequence[str] = ()) -> None:
    """Defines a flag for each configuration field except data.dataset.

    Args:
      section: name of the section whose fields get a flag; all by default.
      default: wording of the default in the help texts.
      except_fields: names of fields that get none.
    """
    short_names = config_lib.short_names()
    for path, field, field_type in config_lib.field_paths():
        if path == "data.dataset" or not path.startswith(section) or field.name in except_fields:
            continue
        help_text = field.metadata["help"]
        if field.metadata["choices"] is not None:
            help_text += f": {', '.join(map(str, field.metadata['choices']))}"
        define = _define_edge if path == "data.image_size" else _DEFINE.get(field_type, flags.DEFINE_list)
        define(path, None, f"{help_text}; default: {default}.")
        if short_names.get(field.name) == path:
            flags.DEFINE_alias(field.name, path)


def _define_integers(name: str, default: None, help_text: str) -> None:
    flags.DEFINE(_NumbersParser(int), name, default, help_text, serializer=flags.CsvListSerializer(","))


def _define_floats(name: str, default: None, help_text: str) -> None:
    flags.DEFINE(_NumbersParser(float), name, default, help_text, serializer=flags.CsvListSerializer(","))


def _define_edge(name: str, default: None, help_text: str) -> None:
    flags.DEFINE(_EdgeParser(), name, default, help_text, serializer=flags.ArgumentSerializer())


_DEFINE: dict[Any, Callable[..., Any]] = {
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
    str: flags.DEFINE_string,
    tuple[int, ...]: _define_integers,
    tuple[float, ...]: _define_floats,
}


def define_source_flags() -> None:
    """Defines --holdout_dir and --max_megapixels."""
    define_path(
        "holdout_dir",
        None,
        "With --dataset=folder, the folder or zip archive of the images of the evaluation split.",
        is_single=True,
    )
    define_amount(
        "max_megapixels",
        config_lib.DataLocation.max_megapixels,
        "Images with more pixels, in millions, are left out: they may fill the memory. 0 for no limit.",
    )


def define_data_location_flags() -> None:
    """Defines the flags for the images, their cache and the weights of Inception."""
    define_path(
        "data_dir",
        None,
        "Folder of the data sets, local or gs://; default: TFDS_DATA_DIR or ~/tensorflow_datasets. With "
        "--dataset=folder, the folder or zip archive of the images, or the set that "
        f"`{invocation('prepare-data')}` made of them.",
        is_single=True,
    )
    define_source_flags()
    flags.DEFINE_bool(
        "download",
        None,
        "Download a missing data set, or TF-GAN's Inception module; default: on a terminal only.",
    )
    define_amount(
        "memory_gb",
        config_lib.DataLocation.memory_gb,
        "Maximum size of decoded images in memory, in 10^9 bytes; a larger set is kept in --cache_dir.",
    )
    define_path(
        "cache_dir",
        config_lib.DataLocation.cache_dir,
        "Local folder for decoded images that do not fit in memory, and for statistics of real images.",
    )
    flags.DEFINE_bool(
        "verify",
        config_lib.DataLocation.verify,
        "Verify the checksum of all decoded images in --cache_dir, not only of a sample; reads the whole file.",
    )
    define_path(
        "inception",
        None,
        "Feature extractor of FID: folder of TF-GAN's unpacked Inception module or, with "
        "--extractor=keras_inception, a weights file; default: the folders of TensorFlow Hub "
        "(TFHUB_CACHE_DIR) and Keras.",
    )


# Same names as in `training.strategies`, which cannot be imported here because it imports TensorFlow.
STRATEGIES = ("auto", "single", "mirrored", "multi_worker", "tpu")


def define_strategy_flags(several_processes: bool = False) -> None:
    """Defines --strategy, --tpu and --logical_cpus.

    Args:
      several_processes: whether the command can run as one of several cooperating processes.
    """
    names = [name for name in STRATEGIES if several_processes or name != "multi_worker"]
    processes = "multi_worker, the processes of TF_CONFIG; " if several_processes else ""
    flags.DEFINE_enum(
        "strategy",
        "auto",
        names,
        f"Devices: single; mirrored, all GPUs of this machine; {processes}tpu; auto, the best available.",
    )
    flags.DEFINE_string("tpu", None, "Name of the TPU, or local; default: TPU_NAME, else this machine's TPU.")
    flags.DEFINE_integer(
        "logical_cpus",
        0,
        "Number of logical devices that the CPU is split into, to try mirrored without GPUs.",
        lower_bound=0,
        upper_bound=256,
    )
