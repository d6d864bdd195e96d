"""The flags that name a trained generator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl import flags

from vitgan_tf.commands.flags import define_path
from vitgan_tf.commands.plugins import define_plugin_flag
from vitgan_tf.commands.quiet import import_tensorflow
from vitgan_tf.errors import UserError
from vitgan_tf.trained.sources import is_run_source

if TYPE_CHECKING:
    from vitgan_tf.trained.generator import Generator

MODEL_HELP = (
    "Run directory; exported folder, such as a run's saved_model/; archive of one; TensorFlow Hub address; or "
    "digits, the generator that comes with the package."
)


def define_model_flags(given: flags.FlagValues) -> None:
    """Defines --model and, for a run, --checkpoint, --weights and --plugin."""
    define_plugin_flag(given)
    define_path(given, "model", None, MODEL_HELP, required=True)
    define_checkpoint_flags(given)


def define_checkpoint_flags(given: flags.FlagValues) -> None:
    """Defines --checkpoint and --weights."""
    flags.DEFINE_string(
        "checkpoint",
        None,
        "Checkpoint of a run: latest (the default), best, or the step of a saved checkpoint.",
        flag_values=given,
    )
    flags.DEFINE_enum(
        "weights",
        None,
        ["ema", "raw"],
        "Weights of a run: ema, the moving average (default), or raw.",
        flag_values=given,
    )


def check_checkpoint_flags(given: flags.FlagValues) -> None:
    """Raises UserError if --checkpoint or --weights are given for something else than a run."""
    models = given.model if isinstance(given.model, list) else [given.model]
    for name in ("checkpoint", "weights"):
        if given[name].present and not all(map(is_run_source, models)):
            raise UserError(f"--{name} applies only to a run directory")


def load_model(given: flags.FlagValues) -> Generator:
    """Imports TensorFlow, and loads the generator of `define_model_flags`."""
    check_checkpoint_flags(given)
    import_tensorflow()
    from vitgan_tf.trained.loading import load

    return load(given.model, given.checkpoint or "latest", given.weights or "ema")
