"""FID, IS, KID, precision and recall of a generator: python tools/evaluate.py --model=runs/cifar10

The model is a run directory, scored from its checkpoint, or a SavedModel folder. Prints a table and, as the last line
on standard output, the result as one JSON object; it is also added to the metrics.jsonl of the run, or to --output.
"""

from __future__ import annotations

import dataclasses
import json
import os

from absl import flags

from vitgan_tf import command_line
from vitgan_tf.config import EvalConfig
from vitgan_tf.errors import UserError
from vitgan_tf.files import append_json_line
from vitgan_tf.presets import PRESETS, preset

command_line.define_plugin_flag()
command_line.define_path("model", None, "Run directory, or folder of a SavedModel.", required=True)
flags.DEFINE_enum(
    "dataset", None, list(PRESETS), "Preset of the images to compare with; of a SavedModel outside its run."
)
flags.DEFINE_string("checkpoint", None, "Of a run: latest (the default), best, or the step of a kept checkpoint.")
flags.DEFINE_enum("weights", None, ["ema", "raw"], "Of a run: moving average (the default) or raw weights.")
flags.DEFINE_integer("seed", 0, "Seed of the latents.", lower_bound=0, upper_bound=2**31 - 1)
flags.DEFINE_integer("batch_size", 128, "Images drawn at a time, over all devices.", lower_bound=1)
command_line.define_path("dump_images", None, "Folder for the generated images as PNG files; new or empty.")
command_line.define_path(
    "output", None, "File to which the result is added as a line; default: metrics.jsonl of the run."
)
command_line.define_field_flags("eval", default="as the run says, or the preset of --dataset")
command_line.define_data_location_flags()
command_line.define_strategy_flags()
FLAGS = flags.FLAGS


def main(_):
    model = FLAGS.model
    is_run, is_saved_model = (os.path.isfile(os.path.join(model, name)) for name in ("config.json", "saved_model.pb"))
    if not (is_run or is_saved_model):
        raise UserError(f"{model!r} is neither a run directory, with a config.json, nor a SavedModel")
    for name, allowed in (("dataset", is_saved_model), ("checkpoint", is_run), ("weights", is_run)):
        if FLAGS[name].present and not allowed:
            raise UserError(f"--{name} goes with a {'run directory' if is_saved_model else 'SavedModel'}")
    fields = {path.split(".")[1]: value for path, value in command_line.fields_from_flags().items()}
    dataclasses.replace(EvalConfig(), **fields)  # checked before anything is loaded
    strategy = command_line.import_tensorflow_with_strategy()
    from vitgan_tf.reporting import evaluation

    with strategy.scope():
        if is_run:
            candidate = evaluation.from_run(model, FLAGS.checkpoint or "latest", FLAGS.weights or "ema")
        else:
            given = preset(FLAGS.dataset) if FLAGS.dataset else None
            candidate = evaluation.from_saved_model(
                model, given.data if given else None, given.eval if given else None
            )
        path = FLAGS.output or evaluation.metrics_path(candidate)
        _check_writable(path)
        result = evaluation.evaluate(
            candidate,
            dataclasses.replace(candidate.eval, **fields),
            command_line.data_location_from_flags(),
            FLAGS.seed,
            FLAGS.batch_size,
            FLAGS.dump_images,
        )
    failure = None
    try:
        if path is not None:
            append_json_line(path, result)
    except OSError as error:
        failure = error
    print(evaluation.table(result))
    print(json.dumps(result, allow_nan=False))
    if failure is not None:
        raise _cannot_write(path, failure) from failure


def _check_writable(path: str | None) -> None:
    """Before the evaluation, which may take an hour."""
    if path is None or (os.path.exists(path) and os.access(path, os.W_OK)):
        return
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "a", encoding="utf-8"):
            pass
        os.remove(path)
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: str, error: OSError) -> UserError:
    return UserError(f"cannot write {path!r} ({error.strerror}): choose another file with --output")


if __name__ == "__main__":
    command_line.run(main)
