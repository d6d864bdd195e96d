"""Measures speed and memory: vitgan benchmark train --dataset=cifar10 --batch_size=32

train: the training step of a preset, on random images. products: each matrix product of the step by itself.
scale: cost of the step against batch size and number of tokens, each row in its own process. sample: the generator
of a preset at several batch sizes. data: the input pipeline of a preset and its training step. render: the generator
of --model at several resolutions. eval: an evaluation of 50,000 images, and three ways to compute the Frechet
distance. swd: sliced Wasserstein distance of images with faults. endurance: growth of memory, files and step time
over a long run.
Prints a table and, as the last line of standard output, the same results as one JSON object.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from absl import flags

from vitgan_tf.commands.calls import CommandLine
from vitgan_tf.commands.configuration import config_from_flags, data_location_from_flags, fields_from_flags
from vitgan_tf.commands.flags import define_config_flags, define_data_location_flags, define_path
from vitgan_tf.commands.quiet import import_tensorflow
from vitgan_tf.errors import UserError
from vitgan_tf.invocation import invocation

TAKES_ARGUMENTS = True
# Flags that `scale` passes to its processes, besides the configuration fields.
_PASSED_ON = ("config", "dataset", "variant", "generator", "discriminator", "steps")


def define_flags(given: flags.FlagValues) -> None:
    """Defines the flags of this command."""
    define_config_flags(given)
    define_data_location_flags(given)
    flags.DEFINE_integer(
        "steps",
        20,
        "Timed training steps. sample: batches per size; products: calls per product; endurance: steps of the run.",
        lower_bound=1,
        flag_values=given,
    )
    define_path(given, "model", None, "SavedModel folder of a generator, for render.")
    flags.DEFINE_integer(
        "num_images",
        None,
        "Number of images. render: per drawing, default 64; data: in the set, default 20,000; eval: of either kind, "
        "default 50,000; swd: in each set, default 1,797.",
        lower_bound=1,
        flag_values=given,
    )
    define_path(given, "profile", None, "Folder for a TensorBoard profile of three further steps, for train.")


def main(line: CommandLine) -> dict[str, Any]:
    """Runs the benchmark that the argument names, and returns its result."""
    commands = {
        "sample": _sample,
        "scale": _scale,
        "train": _train,
        "products": _products,
        "data": _data,
        "render": _render,
        "eval": _eval,
        "swd": _swd,
        "endurance": _endurance,
    }
    given = line.flags
    if len(line.arguments) != 1 or line.arguments[0] not in commands:
        raise UserError(f"say what to measure: {invocation('benchmark')} {'|'.join(commands)} [--flags]")
    name = line.arguments[0]
    if given.profile is not None and name != "train":
        raise UserError("--profile applies only to train: leave it out")
    if name in ("sample", "scale") and given["train.batch_size"].present:
        raise UserError(f"{name} sets its own batch sizes: leave out --batch_size")
    result = commands[name](given)
    print(_table(result))
    print(json.dumps(result))
    return result


def _table(result: dict[str, Any]) -> str:
    """Returns one line per entry; then, for each list of rows, one line per field with a column per row."""
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


def _sample(given: flags.FlagValues) -> dict:
    config = config_from_flags(given)
    import_tensorflow()
    from vitgan_tf.benchmarks.sampling import measure_sampling

    return measure_sampling(config, given.steps)


def _scale(given: flags.FlagValues) -> dict:
    config = config_from_flags(given)
    from vitgan_tf.benchmarks.scale import as_flags, in_own_process, measure_scale

    passed_on = {name: given[name].value for name in _PASSED_ON if given[name].present}
    fields = fields_from_flags(given)
    train = [sys.executable, "-m", "vitgan_tf", "benchmark", "train"]
    train += [*(f"--plugin={path}" for path in given.plugin), *as_flags({**passed_on, **fields})]
    return measure_scale(config, in_own_process(train))


def _train(given: flags.FlagValues) -> dict:
    config = config_from_flags(given)
    import_tensorflow()
    from vitgan_tf.benchmarks.training import measure_training

    return measure_training(config, given.steps, given.profile)


def _products(given: flags.FlagValues) -> dict:
    config = config_from_flags(given)
    import_tensorflow()
    from vitgan_tf.benchmarks.products import measure_products

    return measure_products(config, given.steps)


def _data(given: flags.FlagValues) -> dict:
    config = config_from_flags(given)
    import_tensorflow()
    from vitgan_tf.benchmarks.data import measure_data

    return measure_data(config, given.num_images or 20_000, given.steps)


def _eval(given: flags.FlagValues) -> dict:
    if given.num_images == 1:
        raise UserError("one image has no covariance: --num_images=2 or more")
    import_tensorflow()
    from vitgan_tf.benchmarks.evaluation import measure_evaluation

    return measure_evaluation(given.num_images or 50_000)


def _swd(given: flags.FlagValues) -> dict:
    import_tensorflow()
    from vitgan_tf.benchmarks.sensitivity import measure_sensitivity

    return measure_sensitivity(given.num_images or 1797)


def _endurance(given: flags.FlagValues) -> dict:
    config = config_from_flags(given)
    import_tensorflow()
    from vitgan_tf.benchmarks.endurance import measure_endurance

    return measure_endurance(config, given.steps, data_location_from_flags(given))


def _render(given: flags.FlagValues) -> dict:
    if given.model is None:
        raise UserError("render needs a generator, for example --model=runs/digits/saved_model")
    import_tensorflow()
    from vitgan_tf import sampling
    from vitgan_tf.benchmarks.sampling import measure_rendering

    model = sampling.load(given.model)
    if not model.renders_at_any_scale:
        raise UserError("this generator renders at one resolution only: render needs the Fourier decoder")
    return measure_rendering(model, given.num_images or 64)
