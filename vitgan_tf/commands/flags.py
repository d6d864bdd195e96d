"""The flags that commands share: configuration fields, data, devices.

Each call of a command has its own `FlagValues`. Importing this module imports no TensorFlow: `--help` stays quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

from absl import flags

from vitgan_tf import config as config_lib
from vitgan_tf.commands.parsers import EdgeParser, FiniteParser, NumbersParser, PathParser, RangesParser
from vitgan_tf.commands.plugins import define_plugin_flag
from vitgan_tf.config import aliases
from vitgan_tf.invocation import invocation
from vitgan_tf.presets import DEFAULT_SIZE, PRESETS, SIZES, VARIANTS, network_names

DEFAULT_PRESET = "digits"
_MAX_CLASS = 10**6
# The paper's method: default of --variant, --generator and --discriminator.
DEFAULT_VARIANT = "vitgan"


def define_path(
    given: flags.FlagValues,
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
        PathParser(suffixes),
        name,
        default,
        help_text,
        flag_values=given,
        serializer=flags.ArgumentSerializer(),
        required=required,
        allow_overwrite=not is_single,
    )


def define_amount(
    given: flags.FlagValues, name: str, default: float, help_text: str, upper_bound: float | None = None
) -> None:
    """Defines a flag for a finite number that is not negative."""
    parser = FiniteParser(lower_bound=0.0, upper_bound=upper_bound)
    flags.DEFINE(parser, name, default, help_text, flag_values=given, serializer=flags.ArgumentSerializer())


def define_numbers(
    given: flags.FlagValues,
    name: str,
    default: list[Any],
    help_text: str,
    number: Callable[[Any], Any],
    bounds: tuple[float, float],
) -> None:
    """Defines a flag for one or several different numbers, separated by commas, within these bounds."""
    serializer: flags.CsvListSerializer = flags.CsvListSerializer(",")
    flags.DEFINE(NumbersParser(number, bounds, are_different=True), name, default, help_text, given, serializer)


def define_config_flags(given: flags.FlagValues) -> None:
    """Defines --plugin, --config, a flag for each argument of a preset, and one for each field.

    A field is set by its path, --train.batch_size=64, or, where no other section has a field of that name, by its
    name alone, --batch_size=64.
    """
    define_plugin_flag(given)
    define_path(
        given,
        "config",
        None,
        "Configuration file, such as the config.json of a run; replaces --dataset, --size, --variant, "
        "--generator and --discriminator.",
    )
    _define_preset_flags(given)
    define_field_flags(given)
    for old, new in aliases.FIELDS.items():
        flags.DEFINE_alias(old, new, given)
    flags.DEFINE_alias("resolution", "data.image_size", given)


def _define_preset_flags(given: flags.FlagValues) -> None:
    """Defines --dataset, --size, --variant, --generator and --discriminator."""
    presets = "; ".join(f"{name}: {(function.__doc__ or '').split('.')[0]}" for name, function in PRESETS.items())
    flags.DEFINE_string("dataset", DEFAULT_PRESET, f"Preset. {presets}.", flag_values=given)
    flags.DEFINE_enum(
        "size",
        DEFAULT_SIZE,
        list(SIZES),
        "Width of the networks: base, that of the preset, which is the paper's in the paper's experiments; small, "
        "half of it; large, twice.",
        flag_values=given,
    )
    flags.DEFINE_string(
        "variant",
        DEFAULT_VARIANT,
        "Row of the paper's tables, as changes to the preset: vitgan, the method; vanilla_vit, stylegan2, transgan "
        "and biggan, baselines; stylegan2_d, StyleGAN2's discriminator; g_*, ablations of the generator's style "
        "input and pixel decoder; d_*, ablations of the discriminator's regularisation, augmentation and patch "
        "overlap. Not in the paper: *_r3gan, R3GAN's loss; *_contrad, a contrastive discriminator; ucsd, how the "
        "authors' reproduction trains. "
        f"Choices: {', '.join(VARIANTS)}.",
        flag_values=given,
    )
    for network in ("generator", "discriminator"):
        flags.DEFINE_string(
            network,
            DEFAULT_VARIANT,
            f"The {network}, with its regulariser, loss and learning rate: vitgan, the method; vanilla_vit, a plain "
            f"vision transformer; or a baseline. Choices: {', '.join(network_names(network))}.",
            flag_values=given,
        )


def define_field_flags(
    given: flags.FlagValues, section: str = "", default: str = "the preset's", except_fields: Sequence[str] = ()
) -> None:
    """Defines a flag for each configuration field except data.dataset.

    Args:
      given: where to define them.
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
        define = _DEFINE_BY_PATH.get(path) or _DEFINE.get(field_type, flags.DEFINE_list)
        define(path, None, f"{help_text}; default: {default}.", flag_values=given)
        if short_names.get(field.name) == path:
            flags.DEFINE_alias(field.name, path, given)


def _define_integers(name: str, default: None, help_text: str, flag_values: flags.FlagValues) -> None:
    serializer: flags.CsvListSerializer = flags.CsvListSerializer(",")
    flags.DEFINE(NumbersParser(int), name, default, help_text, flag_values, serializer)


def _define_floats(name: str, default: None, help_text: str, flag_values: flags.FlagValues) -> None:
    serializer: flags.CsvListSerializer = flags.CsvListSerializer(",")
    flags.DEFINE(NumbersParser(float), name, default, help_text, flag_values, serializer)


def _define_edge(name: str, default: None, help_text: str, flag_values: flags.FlagValues) -> None:
    flags.DEFINE(EdgeParser(), name, default, help_text, flag_values, flags.ArgumentSerializer())


def _define_ranges(name: str, default: None, help_text: str, flag_values: flags.FlagValues) -> None:
    serializer: flags.CsvListSerializer = flags.CsvListSerializer(",")
    flags.DEFINE(RangesParser(_MAX_CLASS), name, default, f"{help_text} Ranges: 0-4,7.", flag_values, serializer)


_DEFINE_BY_PATH = {"data.image_size": _define_edge, "data.classes": _define_ranges}
_DEFINE: dict[Any, Callable[..., Any]] = {
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
    str: flags.DEFINE_string,
    tuple[int, ...]: _define_integers,
    tuple[float, ...]: _define_floats,
}


def define_source_flags(given: flags.FlagValues) -> None:
    """Defines --holdout_dir and --max_megapixels."""
    define_path(
        given,
        "holdout_dir",
        None,
        "With --dataset=folder, the folder or zip archive of the images of the evaluation split.",
        is_single=True,
    )
    define_amount(
        given,
        "max_megapixels",
        config_lib.DataLocation.max_megapixels,
        "Images with more pixels, in millions, are left out: they may fill the memory. 0 for no limit.",
    )


def define_data_location_flags(given: flags.FlagValues) -> None:
    """Defines the flags for the images, their cache and the weights of Inception."""
    define_path(
        given,
        "data_dir",
        None,
        "Folder of the data sets, local or gs://; default: TFDS_DATA_DIR or ~/tensorflow_datasets. With "
        "--dataset=folder, the folder or zip archive of the images, or the set that "
        f"`{invocation('prepare-data')}` made of them.",
        is_single=True,
    )
    define_source_flags(given)
    flags.DEFINE_bool(
        "download",
        None,
        "Download a missing data set or module of TensorFlow Hub, such as TF-GAN's Inception; default: on a terminal "
        "only.",
        flag_values=given,
    )
    _define_cache_flags(given)
    define_path(
        given,
        "inception",
        None,
        "Feature extractor of FID: folder of TF-GAN's unpacked Inception module or, with "
        "--extractor=keras_inception, a weights file; default: the folders of TensorFlow Hub "
        "(TFHUB_CACHE_DIR) and Keras.",
    )


def _define_cache_flags(given: flags.FlagValues) -> None:
    """Defines --memory_gb, --cache_dir and --verify."""
    define_amount(
        given,
        "memory_gb",
        config_lib.DataLocation.memory_gb,
        "Maximum size of decoded images in memory, in 10^9 bytes; a larger set is kept in --cache_dir.",
    )
    define_path(
        given,
        "cache_dir",
        config_lib.DataLocation.cache_dir,
        "Local folder for decoded images that do not fit in memory, and for statistics of real images.",
    )
    flags.DEFINE_bool(
        "verify",
        config_lib.DataLocation.verify,
        "Verify the checksum of all decoded images in --cache_dir, not only of a sample; reads the whole file.",
        flag_values=given,
    )


# Same names as in `training.strategies`, which cannot be imported here because it imports TensorFlow.
STRATEGIES = ("auto", "single", "mirrored", "multi_worker", "tpu")


def define_strategy_flags(given: flags.FlagValues, several_processes: bool = False) -> None:
    """Defines --strategy, --tpu and --logical_cpus.

    Args:
      given: where to define them.
      several_processes: whether the command can run as one of several cooperating processes.
    """
    names = [name for name in STRATEGIES if several_processes or name != "multi_worker"]
    processes = "multi_worker, the processes of TF_CONFIG; " if several_processes else ""
    flags.DEFINE_enum(
        "strategy",
        "auto",
        names,
        f"Devices: single; mirrored, all GPUs of this machine; {processes}tpu; auto, the best available.",
        flag_values=given,
    )
    flags.DEFINE_string(
        "tpu", None, "Name of the TPU, or local; default: TPU_NAME, else this machine's TPU.", flag_values=given
    )
    flags.DEFINE_integer(
        "logical_cpus",
        0,
        "Number of logical devices that the CPU is split into, to try mirrored without GPUs.",
        lower_bound=0,
        upper_bound=256,
        flag_values=given,
    )
