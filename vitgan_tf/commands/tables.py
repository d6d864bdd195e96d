"""Reproduces the paper's tables and its stability figure: vitgan tables --table=main

Trains every row with every seed, skips finished runs, and writes each table as Markdown and CSV, with a plot.
Tables share the runs that they have in common. On the digits, a run is 24 kimg long unless --total_kimg says
otherwise. A row with several updates of the discriminator in a step is as many times longer: all rows have the same
number of steps.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib.resources
import itertools
import os
from collections.abc import Iterable
from typing import Any

from absl import flags

from vitgan_tf.commands import configuration
from vitgan_tf.commands.calls import CommandLine
from vitgan_tf.commands.flags import DEFAULT_VARIANT, define_config_flags, define_data_location_flags, define_path
from vitgan_tf.commands.quiet import import_tensorflow
from vitgan_tf.config import ConfigError, ExperimentConfig, differences, log_intervals, override, unread_fields
from vitgan_tf.errors import UserError, did_you_mean
from vitgan_tf.files import only_one
from vitgan_tf.presets import VARIANTS
from vitgan_tf.presets.tables import DIGITS_FIELDS, TABLES
from vitgan_tf.reporting import sweep
from vitgan_tf.runs.directory import DIGITS_CLASSIFIER, FREE_TO_CHANGE, read_run

# Preset -> data set in the paper's tables. Beside all others stand the paper's figures for CIFAR-10.
_PAPERS_DATA = {"celeba64": "CelebA 64 x 64", "lsun_bedroom64": "LSUN bedroom 64 x 64"}
# Flags that a row sets.
_ROWS = ("variant", "generator", "discriminator")


def define_flags(given: flags.FlagValues) -> None:
    """Defines the flags of this command."""
    define_config_flags(given)
    define_data_location_flags(given)
    flags.DEFINE_multi_enum(
        "table",
        list(TABLES),
        list(TABLES),
        "Tables to make; may be given several times. main: the paper's main table; generator, discriminator: its "
        "ablations; networks: every generator with every discriminator; stability: the discriminator's gradient "
        "norms.",
        flag_values=given,
    )
    flags.DEFINE_multi_string(
        "row",
        [],
        "Rows to train, as the tables name them; may be given several times; default: all. Tables have their other "
        "rows too, as far as these are trained.",
        flag_values=given,
    )
    flags.DEFINE_integer("seeds", 3, "Seeds per row: 0, 1, ...", lower_bound=1, upper_bound=1000, flag_values=given)
    flags.DEFINE_integer(
        "jobs", 1, "Simultaneous runs, each with its share of the cores.", lower_bound=1, flag_values=given
    )
    define_path(
        given, "output_dir", None, "Folder of the runs and the tables; default: runs/tables-<dataset>[-<size>]."
    )


def main(line: CommandLine) -> str:
    """Trains the missing runs and writes the tables, and returns their folder."""
    given = line.flags
    fields = _fields_of_all_rows(given)
    folder = given.output_dir or os.path.join("runs", f"tables-{configuration.run_name_from_flags(given)}")
    configs, rows = _cells(given, fields, folder)
    chosen = _chosen_cells(given, configs, rows)
    tensorflow = import_tensorflow()
    if line.owns_process:
        # The training processes need the memory of the GPUs. This lasts, so a call leaves them to later commands.
        tensorflow.config.set_visible_devices([], "GPU")
    config = next(iter(configs.values()))
    try:
        with only_one(folder):
            for cell, wanted in configs.items():
                _check_same_run(cell, wanted)
            _prepare_extractor(given, config, chosen, folder)
            failed = sweep.run_cells(chosen, config.total_steps, given.jobs)
            texts = [_write(given, table, rows[table], config, folder) for table in rows]
    except BlockingIOError as error:
        raise UserError(f"another process writes to {folder!r}: choose another --output_dir") from error
    except OSError as error:
        raise UserError(f"cannot write {folder!r} ({error.strerror}): choose another --output_dir") from error
    print("\n".join(texts))
    if failed:
        raise UserError(
            f"{len(failed)} runs ended with an error; the first, in {failed[0].log_path}: {failed[0].last_words()}"
        )
    return folder


def _fields_of_all_rows(given: flags.FlagValues) -> dict[str, Any]:
    """Returns the configuration fields that every run has, by path."""
    if given.config is not None or any(given[name].value != DEFAULT_VARIANT for name in _ROWS):
        raise UserError(
            "the rows of the tables set --variant, --generator, --discriminator and --config: leave them out"
        )
    fields = configuration.fields_from_flags(given)
    if "train.seed" in fields:
        raise UserError("the tables set --seed, from 0 to --seeds - 1: leave it out")
    return {**DIGITS_FIELDS, **fields} if given.dataset == "digits" else fields


def _cells(
    given: flags.FlagValues, fields: dict[str, Any], folder: str
) -> tuple[dict[sweep.Cell, ExperimentConfig], dict[str, dict[str, list[sweep.Cell]]]]:
    """Returns the configuration of each cell, and the cells by table and row.

    The first seed of all rows comes first: a sweep that is stopped early leaves whole tables.
    """
    configs: dict[sweep.Cell, ExperimentConfig] = {}
    rows: dict[str, dict[str, list[sweep.Cell]]] = {table: {} for table in TABLES if table in given.table}
    cells: dict[str, sweep.Cell] = {}
    for seed, table in itertools.product(range(given.seeds), rows):
        for name, networks in TABLES[table]:
            cell, config = _cell(given, networks, seed, fields, folder)
            # Two tables may spell the same run differently, but a folder may have one process only.
            cell = cells.setdefault(cell.model_dir, cell)
            configs[cell] = config
            rows[table].setdefault(name, []).append(cell)
    return configs, rows


def _chosen_cells(
    given: flags.FlagValues, cells: Iterable[sweep.Cell], rows: dict[str, dict[str, list[sweep.Cell]]]
) -> list[sweep.Cell]:
    """Returns the cells of the rows that --row names, or all of them, in their order."""
    names = list(dict.fromkeys(name for of_table in rows.values() for name in of_table))
    unknown = [name for name in given.row if name not in names]
    if unknown:
        guess = did_you_mean(unknown[0], names)
        raise UserError(f"--row={unknown[0]} is in none of these tables{guess} (rows: {'; '.join(names)})")
    wanted = {cell for of_table in rows.values() for name in given.row or names for cell in of_table.get(name, ())}
    return [cell for cell in cells if cell in wanted]


def _preset(given: flags.FlagValues, fields: dict[str, Any], networks: dict[str, str]) -> ExperimentConfig | None:
    """Returns the preset with these networks; None if they cannot draw its images."""
    try:
        return configuration.preset_from_flags(given, fields, networks)
    except ConfigError:
        return None


def _cell(
    given: flags.FlagValues, networks: dict[str, str], seed: int, fields: dict[str, Any], folder: str
) -> tuple[sweep.Cell, ExperimentConfig]:
    """Returns a run and its configuration."""
    changed = configuration.preset_from_flags(given, fields, networks)
    # Equal rows of several tables share a run, named after the first variant that is equal to them.
    same = (name for name in VARIANTS if _preset(given, fields, {"variant": name}) == changed)
    default = DEFAULT_VARIANT
    name = next(same, f"g_{networks.get('generator', default)}-d_{networks.get('discriminator', default)}")
    model_dir = os.path.join(folder, name, f"seed_{seed}")
    own = {"dataset": given.dataset, "size": given.size, **networks, "train.seed": seed, "model_dir": model_dir}
    location = dataclasses.asdict(configuration.data_location_from_flags(given))
    location = {name: value for name, value in location.items() if value is not None}
    fields = {**fields, **_lengths(override(changed, fields))}
    config = override(changed, {**fields, "train.seed": seed})
    unread = unread_fields(config)  # fields that another row's networks read
    settings = {
        name: ",".join(map(str, value)) if isinstance(value, list) else value
        for name, value in fields.items()
        if name not in unread
    }
    command = sweep.training_command({**own, **location, **settings}, given.plugin)
    cell = sweep.Cell(name, seed, command, model_dir)
    return cell, config


def _lengths(config: ExperimentConfig) -> dict[str, float]:
    """Returns the lengths of a row with several batches in a step, so that all rows have as many steps."""
    batches = config.train.discriminator_steps
    return (
        {}
        if batches == 1
        else {path: batches * config.value(path) for path in ("train.total_kimg", *log_intervals())}
    )


def _check_same_run(cell: sweep.Cell, wanted: ExperimentConfig) -> None:
    """Raises UserError if a folder holds another run: a finished run is not started and cannot check this."""
    try:
        config, _ = read_run(cell.model_dir)
    except FileNotFoundError:
        return
    changed = differences(config, wanted, FREE_TO_CHANGE + unread_fields(wanted))
    if changed:
        raise UserError(
            f"{cell.model_dir!r} holds a run of another configuration ({'; '.join(changed)}): "
            "choose another --output_dir"
        )
    # A longer run is not trained again, so its row would never be finished.
    steps = max((line["step"] for line in cell.training_metrics()), default=0)
    if steps > wanted.total_steps and not cell.is_finished(wanted.total_steps):
        raise UserError(
            f"{cell.model_dir!r} holds a run of {steps} steps, without scores at step {wanted.total_steps}, the last "
            f"of --total_kimg={wanted.train.total_kimg:g}: choose a longer one, or another --output_dir"
        )


def _prepare_extractor(
    given: flags.FlagValues, config: ExperimentConfig, cells: list[sweep.Cell], folder: str
) -> None:
    """Loads the extractor before the first run: a run without one would train on and leave its row empty."""
    from vitgan_tf.evaluation.build import load_extractor

    classifier = os.path.join(folder, DIGITS_CLASSIFIER)
    location = configuration.data_location_from_flags(given)
    extractor = load_extractor(config.eval.extractor, config.data, location, classifier, settings=config.eval)
    if extractor is not None and extractor.name == "digits":
        # Scores are comparable under the same classifier only.
        sweep.share_file(classifier, cells)


def _write(
    given: flags.FlagValues, table: str, rows: dict[str, list[sweep.Cell]], config: ExperimentConfig, folder: str
) -> str:
    from vitgan_tf.reporting.tables import Row, write_table

    data = _PAPERS_DATA.get(given.dataset, "CIFAR-10")
    published = importlib.resources.files("vitgan_tf.reporting") / "published.csv"
    lines = [line for line in csv.DictReader(published.read_text("utf-8").splitlines()) if line["table"] == table]
    figures = {line["row"]: line["published"] for line in lines if (line["dataset"], line["metric"]) == (data, "FID")}
    return write_table(
        os.path.join(folder, table),
        [Row(name, tuple(cells), figures.get(name, "")) for name, cells in rows.items()],
        config.total_steps,
        config.train.batch_size,
        f"paper: FID on {data}" if figures else "",
    )
