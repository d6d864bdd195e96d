"""Exports a trained generator: vitgan export --model=runs/digits --format=onnx --output=exported

Writes a folder with the generator in one format, a model card (README.md) with a grid of images, the configuration
and scores (config.json), and checksums. vitgan_tf.load and the other commands read each of them.
"""

from __future__ import annotations

from absl import flags, logging

from vitgan_tf.commands.calls import CommandLine
from vitgan_tf.commands.flags import define_path
from vitgan_tf.commands.models import define_model_flags, load_model
from vitgan_tf.config.choices import EXPORT_FORMATS
from vitgan_tf.errors import UserError


def define_flags(given: flags.FlagValues) -> None:
    """Defines the flags of this command."""
    define_model_flags(given)
    define_path(given, "output", None, "Folder to write; new or empty.", required=True)
    flags.DEFINE_enum(
        "format",
        "saved_model",
        list(EXPORT_FORMATS),
        "Format: saved_model, for TensorFlow; onnx or tflite, for other programs; npz, the weights in float16.",
        flag_values=given,
    )
    flags.DEFINE_integer(
        "batch_size",
        None,
        "Fixed batch size, for runtimes that need one; default: any batch size.",
        lower_bound=1,
        flag_values=given,
    )
    flags.DEFINE_bool(
        "warmup",
        False,
        "Add warm-up requests for TensorFlow Serving; needs the package tensorflow-serving-api.",
        flag_values=given,
    )


def main(line: CommandLine) -> str:
    """Exports the generator, and returns the folder."""
    given = line.flags
    if given.warmup and given.format != "saved_model":
        raise UserError("--warmup is for TensorFlow Serving: add --format=saved_model")
    generator = load_model(given)
    from vitgan_tf.reporting import card
    from vitgan_tf.trained.exporting import export
    from vitgan_tf.trained.warmup import write_warmup_requests

    def finish(folder: str) -> None:
        card.write_card(folder, generator, given.format, given.batch_size)
        if given.warmup:
            write_warmup_requests(generator, folder, given.batch_size)

    export(generator, given.output, given.format, given.batch_size, finish)
    logging.info("wrote %s", given.output)
    return given.output
