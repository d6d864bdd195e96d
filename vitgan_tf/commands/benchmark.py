"""Measures speed and memory: vitgan benchmark train --dataset=cifar10 --batch_size=32

train: the training step of a preset, on random images. products: each matrix product of the step by itself.
scale: cost of the step against batch size and number of tokens, each row in its own process. compare: training and
sampling of several presets, by turns in this checkout and in its commit --baseline. sample: the generator of a preset
at several batch sizes. data: the input pipeline of a preset and its training step. render: the generator of --model
at several resolutions. eval: an evaluation of 50,000 images, and three ways to compute the Frechet distance. swd:
sliced Wasserstein distance of images with faults. endurance: growth of memory, files and step time over a long run.
Prints a table and, as the last line of standard output, the same results as one JSON object.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from vitgan_tf.commands.calls import CommandLine
from vitgan_tf.commands.configuration import config_from_flags, data_location_from_flags, fields_from_flags
from vitgan_tf.commands.flags import define_config_flags, define_data_location_flags, define_path
from vitgan_tf.commands.quiet import import_tensorflow
from vitgan_tf.errors import UserError
from vitgan_tf.invocation import invocation
from vitgan_tf.presets import preset

TAKES_ARGUMENTS = True
# Flags that `compare` passes to its processes, besides the configuration fields; `scale` passes more.
_NETWORKS = ("size", "variant", "generator", "discriminator")
_PASSED_ON = ("config", "dataset", "steps", *_NETWORKS)
_COMPARED = ["cifar10", "celeba64", "digits", "tiny"]
# Flags of one benchmark alone.
_ONLY = {"profile": "train", "baseline": "compare", "pairs": "compare", "presets": "compare"}


def define_flags(given: flags.FlagValues) -> None:
    """Defines the flags of this command."""
    define_config_flags(given)
    define_data_location_flags(given)
    flags.DEFINE_integer(
        "steps",
        20,
        "Timed training steps. sample: batches per size; products: calls per product; endurance: steps of the run; "
        "compare: of train and sample, default 20 for digits and tiny, 3 for other presets.",
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
    flags.DEFINE_string("baseline", None, "Commit to compare this checkout with, for compare.", flag_values=given)
    flags.DEFINE_integer("pairs", 8, "Times that compare measures both commits.", lower_bound=1, flag_values=given)
    flags.DEFINE_list("presets", _COMPARED, "Presets, separated by commas, for compare.", flag_values=given)


def main(line: CommandLine) -> dict[str, Any]:
    """Runs the benchmark that the argument names, and returns its result."""
    commands = {
        "sample": _sample,
        "scale": _scale,
        "compare": _compare,
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
    for flag, benchmark in _ONLY.items():
        if given[flag].present and name != benchmark:
            raise UserError(f"--{flag} applies only to {benchmark}: leave it out")
    if name in ("sample", "scale", "compare") and given["train.batch_size"].present:
        raise UserError(f"{name} sets its own batch sizes: leave out --batch_size")
    result = commands[name](given)
    _show(result)
    return result


def _show(result: dict[str, Any]) -> None:
    print(_table(result))
    print(json.dumps(result))


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
    from vitgan_tf.benchmarks.scale import in_own_process, measure_scale

    train = [sys.executable, "-m", "vitgan_tf", "benchmark", "train"]
    return measure_scale(config, in_own_process([*train, *_passed_on(given, _PASSED_ON)]))


def _passed_on(given: flags.FlagValues, names: Sequence[str]) -> list[str]:
    """Returns the words of --plugin, of these flags if they are given, and of the configuration fields."""
    from vitgan_tf.benchmarks.scale import as_flags

    named = {name: given[name].value for name in names if given[name].present}
    return [*(f"--plugin={path}" for path in given.plugin), *as_flags({**named, **fields_from_flags(given)})]


def _compare(given: flags.FlagValues) -> dict:
    _check_comparison(given)
    from vitgan_tf.benchmarks.compare import measure_commits

    steps = given.steps if given["steps"].present else None
    arguments = _passed_on(given, _NETWORKS)
    return measure_commits(given.baseline, given.presets, given.pairs, steps, arguments, show=_show)


def _check_comparison(given: flags.FlagValues) -> None:
    if given.baseline is None:
        raise UserError("compare needs a commit, for example --baseline=HEAD")
    for name in ("config", "dataset"):
        if given[name].present:
            raise UserError(f"compare takes --presets=cifar10,digits instead of --{name}: leave it out")
    if not given.presets or len(set(given.presets)) < len(given.presets):
        raise UserError("--presets needs names, each of them once, for example --presets=cifar10,digits")
    for name in given.presets:
        preset(name)


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
    from vitgan_tf.benchmarks.sampling import measure_rendering
    from vitgan_tf.trained.loading import load

    generator = load(given.model)
    if not generator.renders_at_any_scale:
        raise UserError("this generator renders at one resolution only: render needs the Fourier decoder")
    return measure_rendering(generator, given.num_images or 64)
