"""What the commands in experiments/ and tools/ share: flags for every configuration field, quiet start, error lines.

Importing this module defines no flag and imports no TensorFlow; `--help` stays quick.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging as standard_logging
import math
import os
import sys
import typing
from collections.abc import Iterator, Sequence
from typing import Any, Callable

from absl import app, flags, logging

from vitgan_tf import config as config_lib
from vitgan_tf.config import aliases
from vitgan_tf.errors import Interrupted, UserError, first_line
from vitgan_tf.presets import PRESETS, VARIANTS, network_changes, network_names, preset

# Flags count as those of the script that calls define_config_flags, so that its --help lists them.
flags.disclaim_key_flags()

DEFAULT_PRESET = "digits"
# Of variant, generator and discriminator: the method.
DEFAULT_VARIANT = "vitgan"


_MAX_PATH_BYTES = 4095  # of Linux


class _PathParser(flags.ArgumentParser):
    """A path, whose ~ a shell does not expand in --name=~/folder."""

    def parse(self, argument: str) -> str:
        if not argument:
            raise ValueError("a path cannot be empty")
        try:
            num_bytes = len(argument.encode())
        except UnicodeEncodeError as error:  # sys.argv has halves of characters there, which TensorFlow refuses
            raise ValueError("a path must be UTF-8") from error
        if num_bytes > _MAX_PATH_BYTES or "\0" in argument:
            raise ValueError(f"a path has {_MAX_PATH_BYTES} bytes at most, and no zeros")
        return os.path.expanduser(argument)


class _FiniteParser(flags.FloatParser):
    def parse(self, argument: str | float) -> float:
        value = super().parse(argument)
        if not math.isfinite(value):
            raise ValueError("must be a finite number")
        return value


class _IntegersParser(flags.ArgumentParser):
    syntactic_help = "whole numbers, separated by commas"

    def parse(self, argument: str | list[int]) -> list[int]:
        return [int(part) for part in argument.split(",")] if isinstance(argument, str) else argument


def define_path(name: str, default: str | None, help_text: str, required: bool = False) -> None:
    """Defines a flag for a path, local or not: its ~ is expanded, and it cannot be empty."""
    flags.DEFINE(_PathParser(), name, default, help_text, serializer=flags.ArgumentSerializer(), required=required)


def define_amount(name: str, default: float, help_text: str, upper_bound: float | None = None) -> None:
    """Defines a flag for a finite number of at least 0."""
    parser = _FiniteParser(lower_bound=0.0, upper_bound=upper_bound)
    flags.DEFINE(parser, name, default, help_text, serializer=flags.ArgumentSerializer())


def define_config_flags() -> None:
    """Defines --plugin, --dataset, --variant, --generator and --discriminator, and a flag for each field.

    A field is set by its path, --train.batch_size=64, or, where no other section has a field of that name, by its
    name alone, --batch_size=64.
    """
    define_plugin_flag()
    presets = "; ".join(f"{name}: {(function.__doc__ or '').split('.')[0]}" for name, function in PRESETS.items())
    flags.DEFINE_string("dataset", DEFAULT_PRESET, f"Preset. {presets}.")
    flags.DEFINE_string(
        "variant",
        DEFAULT_VARIANT,
        "Row of the paper's tables, as changes to the preset: vitgan, the method; vanilla_vit, stylegan2, transgan "
        "and biggan, baselines; stylegan2_d, StyleGAN2's discriminator; g_*, where the style enters the generator "
        "and what draws its pixels; d_*, what regularises the discriminator, with or without augmentation and "
        f"overlap. There are: {', '.join(VARIANTS)}.",
    )
    for network in ("generator", "discriminator"):
        flags.DEFINE_string(
            network,
            DEFAULT_VARIANT,
            f"The {network}, with its regulariser, loss and learning rate: vitgan, the method; vanilla_vit, without "
            f"it; or a baseline. There are: {', '.join(network_names(network))}.",
        )
    define_field_flags()
    for old, new in aliases.FIELDS.items():
        flags.DEFINE_alias(old, new)
    flags.DEFINE_alias("resolution", "data.image_size")


def define_plugin_flag() -> None:
    """Defines --plugin, and runs the files that it names: what they register can be chosen by the other flags."""
    flags.DEFINE_multi_string(
        "plugin", [], "Python file that registers networks, losses, augmentations, scores or data sets of its own."
    )
    for number, argument in enumerate(sys.argv):
        if argument.startswith(("--plugin=", "-plugin=")):
            _load_plugin(os.path.expanduser(argument.split("=", 1)[1]), f"vitgan_plugin_{number}")


def _load_plugin(path: str, name: str) -> None:
    if not path.endswith(".py") or not os.path.isfile(path):
        _fail(f"--plugin={path}: there is no such Python file")
    _imported_tensorflow(is_quiet=True)  # before the plugin does it, with all that is printed then
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except UserError as error:
        _fail(f"--plugin={path}: {error}")


def define_field_flags(section: str = "", default: str = "the preset's") -> None:
    """Defines a flag for each configuration field, or for each one of a section, but for data.dataset.

    Args:
      section: name of the section; all by default.
      default: where the value comes from if the flag is not given, in words.
    """
    short_names = config_lib.short_names()
    for path, field, field_type in config_lib.field_paths():
        if path == "data.dataset" or not path.startswith(section):
            continue
        help_text = field.metadata["help"]
        if field.metadata["choices"] is not None:
            help_text += f": {', '.join(map(str, field.metadata['choices']))}"
        define = _DEFINE.get(field_type, flags.DEFINE_list)
        define(path, None, f"{help_text}; default: {default}.")
        if short_names.get(field.name) == path:
            flags.DEFINE_alias(field.name, path)


def _define_integers(name: str, default: None, help_text: str) -> None:
    flags.DEFINE(_IntegersParser(), name, default, help_text, serializer=flags.CsvListSerializer(","))


_DEFINE: dict[Any, Callable[..., Any]] = {
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
    str: flags.DEFINE_string,
    tuple[int, ...]: _define_integers,
}


def define_data_location_flags() -> None:
    """Defines --data_dir, --download, --memory_gb, --cache_dir and --inception."""
    define_path(
        "data_dir",
        None,
        "Folder of the data sets, local or gs://; default: TFDS_DATA_DIR or ~/tensorflow_datasets. With "
        "--dataset=folder, the folder of the images, or of a set that tools/prepare_data.py made of them.",
    )
    flags.DEFINE_bool(
        "download",
        None,
        "Whether a data set, or TF-GAN's Inception module, may be fetched if it is not there; default: on a terminal "
        "only.",
    )
    define_amount(
        "memory_gb",
        config_lib.DataLocation.memory_gb,
        "Decoded images are kept in memory if they take no more than this, in 10^9 bytes, else in --cache_dir.",
    )
    define_path(
        "cache_dir",
        config_lib.DataLocation.cache_dir,
        "Local folder for decoded images that do not fit in memory, and for statistics of real images.",
    )
    define_path(
        "inception",
        None,
        "Network behind FID: folder of TF-GAN's Inception module, unpacked; or, with --extractor=keras_inception, "
        "weights file. Default: the folders of TensorFlow Hub (TFHUB_CACHE_DIR) and of Keras.",
    )


# Of `training.strategies`, which cannot be imported before TensorFlow.
STRATEGIES = ("auto", "single", "mirrored", "multi_worker", "tpu")


def define_strategy_flags(several_processes: bool = False) -> None:
    """Defines --strategy, --tpu and --logical_cpus.

    Args:
      several_processes: whether the command can be one of several that compute together.
    """
    names = [name for name in STRATEGIES if several_processes or name != "multi_worker"]
    processes = "multi_worker, the processes of TF_CONFIG; " if several_processes else ""
    flags.DEFINE_enum(
        "strategy",
        "auto",
        names,
        f"Devices: single; mirrored, all GPUs of this machine; {processes}tpu; auto, what it finds.",
    )
    flags.DEFINE_string("tpu", None, "Name of the TPU, or local; default: TPU_NAME, else that of this machine.")
    flags.DEFINE_integer(
        "logical_cpus",
        0,
        "Divides the CPU into so many devices, to try mirrored without GPUs.",
        lower_bound=0,
        upper_bound=256,
    )


def data_location_from_flags() -> config_lib.DataLocation:
    """Where data and weights are, from the flags of define_data_location_flags."""
    given = flags.FLAGS
    download = sys.stderr.isatty() if given.download is None else given.download
    return config_lib.DataLocation(given.data_dir, download, given.memory_gb, given.cache_dir, given.inception)


def config_from_flags() -> config_lib.ExperimentConfig:
    """The preset that --dataset names, with the networks of --variant or --generator and --discriminator.

    The fields that the command line sets are as it says.

    Raises:
      ConfigError: a name or value is refused.
    """
    fields = fields_from_flags()
    given = flags.FLAGS
    networks = {"variant": given.variant, "generator": given.generator, "discriminator": given.discriminator}
    config = config_lib.override(preset_from_flags(fields, networks), fields)
    for path in config_lib.unread_fields(config):
        if path in fields:
            raise config_lib.ConfigError(
                f"--{path} has no effect: neither generator.architecture={config.generator.architecture} nor "
                f"discriminator.architecture={config.discriminator.architecture} reads it"
            )
    return config


def changes_of_networks() -> list[str]:
    """What the networks of the flags change in the preset beside themselves, as "path=value"."""
    changes = {}
    for kind in ("generator", "discriminator"):
        changes.update(network_changes(kind, str(flags.FLAGS[kind].value)))
    changes.update(VARIANTS[flags.FLAGS.variant])
    given = fields_from_flags()
    elsewhere = (path for path in changes if not config_lib.is_of_network(path) and path not in given)
    return [f"{path}={changes[path]}" for path in elsewhere]


def preset_from_flags(fields: dict[str, Any], networks: dict[str, str]) -> config_lib.ExperimentConfig:
    """The preset that --dataset names, with these networks, arguments of `preset`; a folder's has the fields' size.

    Raises:
      ConfigError: see `preset`.
    """
    image_size = fields.get("data.image_size") if flags.FLAGS.dataset == "folder" else None
    return preset(flags.FLAGS.dataset, image_size=image_size, **networks)


def run_name_from_flags() -> str:
    """What tells a run from others in a folder's name: <dataset>, and whatever is not the method."""
    given = flags.FLAGS
    parts = [("", given.variant), ("g_", given.generator), ("d_", given.discriminator)]
    return "-".join([given.dataset, *(prefix + name for prefix, name in parts if name != DEFAULT_VARIANT)])


def fields_from_flags() -> dict[str, Any]:
    """The fields that the command line sets, by path, not yet checked."""
    paths = (path for path, _, _ in config_lib.field_paths() if path in flags.FLAGS)
    return {path: flags.FLAGS[path].value for path in paths if flags.FLAGS[path].present}


def run(main: Callable[[Sequence[str]], None], takes_arguments: bool = False) -> None:
    """Runs a command: parses flags, calls main(arguments), turns a user's mistakes into one line and exit code 1.

    Ctrl-C ends with one line and exit code 130, SIGTERM in a training or a sweep with 143: see docs/reliability.md.

    Args:
      main: gets sys.argv without the flags.
      takes_arguments: whether anything but flags is allowed there.
    """

    def guarded(argv: Sequence[str]) -> None:
        if len(argv) > 1 and not takes_arguments:
            _fail(f"unexpected argument {argv[1]!r}: every option is written --name=value (see --help)")
        try:
            main(argv)
            sys.stdout.flush()
        except (UserError, Interrupted) as error:
            _fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            _fail("interrupted", code=130)
        except MemoryError as error:
            _fail_for_memory(error)
        except SystemError as error:
            # What a KeyboardInterrupt becomes in some C code.
            if not isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
                raise
            _fail("interrupted", code=130)
        except BrokenPipeError:
            # Who read our output has gone; Python would write the rest when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except Exception as error:
            # TensorFlow's own; it need not be imported here.
            if type(error).__name__ != "ResourceExhaustedError":
                raise
            _fail_for_memory(error)

    logging.set_verbosity(logging.INFO)
    logging.get_absl_logger().addFilter(_is_ours_or_serious)
    standard_logging.getLogger("matplotlib").setLevel(standard_logging.WARNING)
    app.run(guarded, flags_parser=_parse_flags)


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        return app.parse_flags_with_usage(argv)
    except RecursionError:  # absl compares an unknown name with all others, letter by letter
        _fail("unknown flag of a very long name (see --help)")


def _is_ours_or_serious(record: standard_logging.LogRecord) -> bool:
    """Drops what TensorFlow and tensorflow-datasets tell through absl's log about their own workings.

    The latter also warns of its own deprecated calls.
    """
    if f"{os.sep}tensorflow_datasets{os.sep}" in record.pathname:
        return record.levelno >= standard_logging.ERROR
    return record.levelno >= standard_logging.WARNING or f"{os.sep}tensorflow{os.sep}" not in record.pathname


def _fail(message: str, code: int = 1) -> typing.NoReturn:
    name = os.path.basename(sys.argv[0])
    print(f"{name}: {' '.join(message.splitlines())}", file=sys.stderr)
    sys.exit(code)


def _fail_for_memory(error: Exception) -> typing.NoReturn:
    _fail(f"there is not enough memory ({first_line(error)}): smaller batches, networks or images need less")


def import_tensorflow_with_strategy(several_processes: bool = False) -> Any:
    """Imports TensorFlow as `import_tensorflow` does, and makes the strategy of the flags of define_strategy_flags.

    Args:
      several_processes: see `define_strategy_flags`; without, --strategy=auto does not look at TF_CONFIG.

    Raises:
      UserError: the devices are not there, or cannot be reached.
    """

    def build() -> Any:
        from vitgan_tf.training.strategies import build_strategy

        return build_strategy(flags.FLAGS.strategy, flags.FLAGS.tpu, flags.FLAGS.logical_cpus, several_processes)

    return import_tensorflow(build)


def import_tensorflow(prepare: Callable[[], Any] = lambda: None) -> Any:
    """Imports TensorFlow and compiles something small, without what it prints while it does so.

    TensorFlow 2.15's C++ code greets on standard error, whatever the log level: with plug-in factories that are
    registered twice, and at the first use of XLA. Later messages are not touched; --verbosity=1 shows all.

    Args:
      prepare: called once TensorFlow is imported and before it computes anything.

    Returns:
      The result of prepare.
    """
    is_quiet = logging.get_verbosity() <= logging.INFO
    tensorflow = _imported_tensorflow(is_quiet)
    result = prepare()
    if is_quiet:
        with _standard_error_closed():
            # Compiled by itself and inside a graph: the two print different lines.
            compiled = tensorflow.function(lambda x: x + 1.0, jit_compile=True, autograph=False)
            compiled(tensorflow.zeros([1]))
            tensorflow.function(lambda x: compiled(x), autograph=False)(tensorflow.zeros([2]))
    return result


def _imported_tensorflow(is_quiet: bool) -> Any:
    if is_quiet:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _standard_error_closed(is_quiet):
        import tensorflow
    tensorflow.get_logger().setLevel("ERROR")
    return tensorflow


@contextlib.contextmanager
def _standard_error_closed(closed: bool = True) -> Iterator[None]:
    """Sends file descriptor 2, where C++ writes, to nowhere."""
    if not closed:
        yield
        return
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
