"""Measures speed and memory: python tools/benchmark.py train --dataset=cifar10 --batch_size=32

train: the training step of a preset, on random images. products: each of its matrix products by itself.
scale: how the step's cost grows with the batch and with the number of tokens, each row in a process of its own.
sample: drawing images with the generator of a preset, at several batch sizes. data: the input pipeline of a preset,
and its training step. render: the generator of --model at several resolutions. eval: an evaluation of 50,000 images,
and the Frechet distance by three ways. endurance: what grows in a run of many steps.
Prints a table and, as the last line on standard output, the same as one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from absl import flags

from vitgan_tf import command_line
from vitgan_tf.errors import UserError

command_line.define_config_flags()
flags.DEFINE_integer(
    "steps",
    20,
    "Timed training steps; for sample, batches of each size; for products, calls of each; for endurance, of the run.",
    lower_bound=1,
)
command_line.define_path("model", None, "SavedModel folder of a generator, for render.")
flags.DEFINE_integer(
    "num_images",
    None,
    "Images per drawing, for render, by default 64; of the set, for data, 20,000; of either kind, for eval, 50,000.",
    lower_bound=1,
)
command_line.define_path("profile", None, "Folder for a TensorBoard profile of three further steps, for train.")
FLAGS = flags.FLAGS


def main(argv):
    commands = {
        "sample": _sample,
        "scale": _scale,
        "train": _train,
        "products": _products,
        "data": _data,
        "render": _render,
        "eval": _eval,
        "endurance": _endurance,
    }
    if len(argv) != 2 or argv[1] not in commands:
        raise UserError(f"say what to measure: {sys.argv[0]} {'|'.join(commands)} [--flags]")
    if FLAGS.profile is not None and argv[1] != "train":
        raise UserError("--profile goes with train")
    if argv[1] in ("sample", "scale") and FLAGS["train.batch_size"].present:
        raise UserError(f"{argv[1]} measures batch sizes of its own: leave out --batch_size")
    result = commands[argv[1]]()
    print(_table(result))
    print(json.dumps(result))


def _table(result: dict[str, Any]) -> str:
    """One line per entry; then, of each list of rows, one line per field with a column for each row."""
    tables = {name: value for name, value in result.items() if isinstance(value, list) and isinstance(value[0], dict)}
    single = {name: value for name, value in result.items() if name not in tables}
    lines = _aligned([[name, _text(value)] for name, value in single.items()])
    for name, rows in tables.items():
        lines += ["", name, *_aligned([[field, *(_text(row[field]) for row in rows)] for field in rows[0]])]
    return "\n".join(lines)


def _aligned(lines: list[list[str]]) -> list[str]:
    widths = [max(map(len, cells)) for cells in zip(*lines)]
    return ["  ".join(map(str.ljust, cells, widths)).rstrip() for cells in lines]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _sample() -> dict:
    config = command_line.config_from_flags()
    command_line.import_tensorflow()
    from vitgan_tf.benchmarks.sampling import measure_sampling

    return measure_sampling(config, FLAGS.steps)


def _scale() -> dict:
    config = command_line.config_from_flags()
    from vitgan_tf.benchmarks.scale import as_flags, in_own_process, measure_scale

    given = {name: FLAGS[name].value for name in ("dataset", "variant", "steps")}
    fields = command_line.fields_from_flags()
    train = [sys.executable, os.path.abspath(__file__), "train", *as_flags({**given, **fields})]
    return measure_scale(config, in_own_process(train))


def _train() -> dict:
    config = command_line.config_from_flags()
    command_line.import_tensorflow()
    from vitgan_tf.benchmarks.training import measure_training

    return measure_training(config, FLAGS.steps, FLAGS.profile)


def _products() -> dict:
    config = command_line.config_from_flags()
    command_line.import_tensorflow()
    from vitgan_tf.benchmarks.products import measure_products

    return measure_products(config, FLAGS.steps)


def _data() -> dict:
    config = command_line.config_from_flags()
    command_line.import_tensorflow()
    from vitgan_tf.benchmarks.data import measure_data

    return measure_data(config, FLAGS.num_images or 20_000, FLAGS.steps)


def _eval() -> dict:
    if FLAGS.num_images == 1:
        raise UserError("one image has no covariance: --num_images=2 or more")
    command_line.import_tensorflow()
    from vitgan_tf.benchmarks.evaluation import measure_evaluation

    return measure_evaluation(FLAGS.num_images or 50_000)


def _endurance() -> dict:
    config = command_line.config_from_flags()
    command_line.import_tensorflow()
    from vitgan_tf.benchmarks.endurance import measure_endurance

    return measure_endurance(config, FLAGS.steps)


def _render() -> dict:
    if FLAGS.model is None:
        raise UserError("say which generator: --model=runs/digits/saved_model")
    command_line.import_tensorflow()
    from vitgan_tf import sampling
    from vitgan_tf.benchmarks.sampling import measure_rendering

    model = sampling.load(FLAGS.model)
    if not model.renders_at_any_scale:
        raise UserError("this generator draws at one resolution only: render needs the Fourier decoder")
    return measure_rendering(model, FLAGS.num_images or 64)


if __name__ == "__main__":
    command_line.run(main, takes_arguments=True)
