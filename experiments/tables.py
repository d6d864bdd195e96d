"""The paper's tables and its figure of stability: python experiments/tables.py --table=main

Trains every row with every seed, skipping what is finished, and writes each table as Markdown, CSV and a picture.
Tables share the runs that they have in common. On the digits, a run is 24 kimg long unless --total_kimg says
otherwise.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import os

from absl import flags

from vitgan_tf import command_line
from vitgan_tf.config import ConfigError, ExperimentConfig, differences, override, unread_fields
from vitgan_tf.errors import UserError
from vitgan_tf.files import only_one
from vitgan_tf.presets import DISCRIMINATORS, GENERATORS, VARIANTS
from vitgan_tf.reporting import sweep

_PUBLISHED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs", "published.csv")
# Data sets as the paper's tables name them; of the others, those of CIFAR-10 stand beside ours.
_PAPERS_DATA = {"celeba64": "CelebA 64 x 64", "lsun_bedroom64": "LSUN bedroom 64 x 64"}

# Name of the row, as in docs/published.csv where the paper has it, and what makes it, as arguments of `preset`.
MAIN_ROWS = (
    ("BigGAN + DiffAugment", {"variant": "biggan"}),
    ("StyleGAN2", {"variant": "stylegan2"}),
    ("TransGAN-XL", {"variant": "transgan"}),
    ("Vanilla-ViT", {"variant": "vanilla_vit"}),
    ("ViTGAN", {"variant": "vitgan"}),
    ("StyleGAN2-D + ViTGAN-G", {"variant": "stylegan2_d"}),
)
GENERATOR_ROWS = (
    ("(A) add, linear", {"variant": "g_add_linear"}),
    ("(A) add, Fourier", {"variant": "g_add_fourier"}),
    ("(B) prepend, linear", {"variant": "g_prepend_linear"}),
    ("(B) prepend, Fourier", {"variant": "g_prepend_fourier"}),
    ("(C) modulate, linear", {"variant": "g_modulate_linear"}),
    ("(C) modulate, Fourier", {"variant": "vitgan"}),
)
DISCRIMINATOR_ROWS = (
    ("ISN, augmentation, overlap", {"variant": "vitgan"}),
    ("SN, augmentation, overlap", {"variant": "d_sn"}),
    ("R1, augmentation, overlap", {"variant": "d_r1"}),
    ("none, augmentation, overlap", {"variant": "d_none"}),
    ("ISN, no augmentation, overlap", {"variant": "d_isn_no_augmentation"}),
    ("ISN, augmentation, no overlap", {"variant": "d_isn_no_overlap"}),
)
_NAMES = {"vitgan": "ViTGAN", "vanilla_vit": "Vanilla-ViT", "stylegan2": "StyleGAN2", "resnet": "ResNet"}
NETWORKS_ROWS = tuple(
    (f"{_NAMES[g]}-G, {_NAMES[d]}-D", {"generator": g, "discriminator": d})
    for g, d in itertools.product(GENERATORS, DISCRIMINATORS)
    if g in _NAMES and d in _NAMES
)
STABILITY_ROWS = (
    ("ViTGAN", {"variant": "vitgan"}),
    ("ViTGAN, SN for ISN", {"variant": "d_sn"}),
    ("ViTGAN, R1 for ISN", {"variant": "d_r1"}),
    ("ViTGAN without ISN", {"variant": "d_none"}),
    ("ViTGAN-G, Vanilla-ViT-D", {"discriminator": "vanilla_vit"}),
    ("Vanilla-ViT", {"variant": "vanilla_vit"}),
)
TABLES = {
    "main": MAIN_ROWS,
    "generator": GENERATOR_ROWS,
    "discriminator": DISCRIMINATOR_ROWS,
    "networks": NETWORKS_ROWS,
    "stability": STABILITY_ROWS,
}

# Each table, three seeds, ends within an hour on two cores.
DIGITS_FIELDS = {"train.total_kimg": 24.0, "log.eval_every_kimg": 8.0, "log.scalars_every_steps": 10}

command_line.define_config_flags()
command_line.define_data_location_flags()
flags.DEFINE_multi_enum(
    "table",
    list(TABLES),
    list(TABLES),
    "Tables to make; may be given several times. main: the paper's main table; generator, discriminator: its "
    "ablations; networks: every generator with every discriminator; stability: gradient norms of the discriminator.",
)
flags.DEFINE_integer("seeds", 3, "Seeds per row: 0, 1, ...", lower_bound=1, upper_bound=1000)
flags.DEFINE_integer("jobs", 1, "Runs at a time; each gets its share of the cores.", lower_bound=1)
command_line.define_path("output_dir", None, "Folder of the runs and the tables; default: runs/tables-<dataset>.")
FLAGS = flags.FLAGS


def main(_):
    if command_line.run_name_from_flags() != FLAGS.dataset:
        raise UserError(
            "--variant, --generator and --discriminator are what the rows of the tables set: leave them out"
        )
    fields = command_line.fields_from_flags()
    if "train.seed" in fields:
        raise UserError("--seed is what the tables set, from 0 to --seeds - 1: leave it out")
    if FLAGS.dataset == "digits":
        fields = {**DIGITS_FIELDS, **fields}
    folder = FLAGS.output_dir or os.path.join("runs", f"tables-{FLAGS.dataset}")
    # Of each cell, what it is to be. The first seed of all rows comes first: who stops early has whole tables.
    configs: dict[sweep.Cell, ExperimentConfig] = {}
    rows: dict[tuple[str, str], list[sweep.Cell]] = {}
    cells: dict[str, sweep.Cell] = {}
    tables = [table for table in TABLES if table in FLAGS.table]
    for seed in range(FLAGS.seeds):
        for table in tables:
            for name, networks in TABLES[table]:
                cell, config = _cell(networks, seed, fields, folder)
                # Another table may say it in other words: one process for a folder.
                cell = cells.setdefault(cell.model_dir, cell)
                configs[cell] = config
                rows.setdefault((table, name), []).append(cell)
    _import_tensorflow()
    config = next(iter(configs.values()))
    try:
        with only_one(folder):
            for cell, wanted in configs.items():
                _check_same_run(cell, wanted)
            _prepare_extractor(config, list(configs), folder)
            failed = sweep.run_cells(list(configs), config.total_steps, FLAGS.jobs)
            texts = [
                _write(table, [(name, rows[table, name]) for name, _ in TABLES[table]], config, folder)
                for table in tables
            ]
    except BlockingIOError as error:
        raise UserError(f"another process is at work in {folder!r}") from error
    except OSError as error:
        raise UserError(f"cannot write {folder!r} ({error.strerror}): choose another --output_dir") from error
    print("\n".join(texts))
    if failed:
        raise UserError(
            f"{len(failed)} runs ended with an error; the first, in {failed[0].log_path}: {failed[0].last_words()}"
        )


def _import_tensorflow() -> None:
    """Without GPUs: this process would take the memory of those that train."""

    def hide() -> None:
        import tensorflow

        tensorflow.config.set_visible_devices([], "GPU")

    command_line.import_tensorflow(hide)


def _preset(fields: dict[str, object], networks: dict[str, str]) -> ExperimentConfig | None:
    """The preset with these networks; None where they cannot draw its images."""
    try:
        return command_line.preset_from_flags(fields, networks)
    except ConfigError:
        return None


def _cell(
    networks: dict[str, str], seed: int, fields: dict[str, object], folder: str
) -> tuple[sweep.Cell, ExperimentConfig]:
    """A run, and its configuration."""
    changed = command_line.preset_from_flags(fields, networks)
    # Rows of several tables that are the same have one run: that of the first variant that is like it.
    same = (name for name in VARIANTS if _preset(fields, {"variant": name}) == changed)
    default = command_line.DEFAULT_VARIANT
    name = next(same, f"g_{networks.get('generator', default)}-d_{networks.get('discriminator', default)}")
    model_dir = os.path.join(folder, name, f"seed_{seed}")
    own = {"dataset": FLAGS.dataset, **networks, "train.seed": seed, "model_dir": model_dir}
    location = dataclasses.asdict(command_line.data_location_from_flags())
    given = {name: value for name, value in location.items() if value is not None}
    config = override(changed, {**fields, "train.seed": seed})
    unread = unread_fields(config)  # a field of one row's network alone
    settings = {
        name: ",".join(map(str, value)) if isinstance(value, list) else value
        for name, value in fields.items()
        if name not in unread
    }
    run = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run.py")
    cell = sweep.Cell(name, seed, sweep.python_command(run, {**own, **given, **settings}), model_dir)
    return cell, config


def _check_same_run(cell: sweep.Cell, wanted: ExperimentConfig) -> None:
    """A run that is finished is not started again, and would not notice that it is another one."""
    from vitgan_tf.runs.directory import FREE_TO_CHANGE, read_run

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
    # It would not be trained, and its row would never be finished.
    steps = max((line["step"] for line in cell.training_metrics()), default=0)
    if steps > wanted.total_steps and not cell.is_finished(wanted.total_steps):
        raise UserError(
            f"{cell.model_dir!r} holds a run of {steps} steps, without scores at step {wanted.total_steps}, the last "
            f"of --total_kimg={wanted.train.total_kimg:g}: say a larger one, or choose another --output_dir"
        )


def _prepare_extractor(config: ExperimentConfig, cells: list[sweep.Cell], folder: str) -> None:
    """What judges all runs is there before the first: without it, a run would go on, and its row be empty."""
    from vitgan_tf.evaluation.build import load_extractor

    classifier = os.path.join(folder, "digits_classifier.h5")
    location = command_line.data_location_from_flags()
    if load_extractor(config.eval.extractor, config.data, location, classifier).name == "digits":
        # One for all runs: only then are their scores comparable.
        sweep.share_file(classifier, cells)


def _write(table: str, rows: list[tuple[str, list[sweep.Cell]]], config: ExperimentConfig, folder: str) -> str:
    from vitgan_tf.reporting.tables import Row, write_table

    data = _PAPERS_DATA.get(FLAGS.dataset, "CIFAR-10")
    with open(_PUBLISHED, encoding="utf-8", newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["table"] == table]
    figures = {line["row"]: line["published"] for line in lines if (line["dataset"], line["metric"]) == (data, "FID")}
    return write_table(
        os.path.join(folder, table),
        [Row(name, tuple(cells), figures.get(name, "")) for name, cells in rows],
        config.total_steps,
        config.train.batch_size,
        f"paper: FID on {data}" if figures else "",
    )


if __name__ == "__main__":
    command_line.run(main)
