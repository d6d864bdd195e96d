"""The paper's ablations of generator and discriminator: python experiments/ablations.py

Trains every row of the tables with every seed, skipping what is finished, and writes the tables as Markdown.
"""

from __future__ import annotations

import dataclasses
import os

from absl import flags

from vitgan_tf import command_line
from vitgan_tf.config import ExperimentConfig, override
from vitgan_tf.errors import UserError
from vitgan_tf.files import only_one
from vitgan_tf.presets import preset
from vitgan_tf.training import sweep

# Variant, name of the row, and the paper's own figure.
GENERATOR_ROWS = (
    ("g_add_linear", "(A) add, linear", "14.3"),
    ("g_add_fourier", "(A) add, Fourier", "11.3"),
    ("g_prepend_linear", "(B) prepend, linear", "328"),
    ("g_prepend_fourier", "(B) prepend, Fourier", "285"),
    ("g_modulate_linear", "(C) modulate, linear", "15.1"),
    ("vitgan", "(C) modulate, Fourier", "6.66"),
)
DISCRIMINATOR_ROWS = (
    ("vitgan", "ISN, augmentation, overlap", "6.66"),
    ("d_sn", "SN, augmentation, overlap", ""),
    ("d_r1", "R1, augmentation, overlap", ""),
    ("d_none", "none, augmentation, overlap", ""),
    ("d_isn_no_augmentation", "ISN, no augmentation, overlap", ""),
    ("d_isn_no_overlap", "ISN, augmentation, no overlap", ""),
)
TABLES = {"generator": GENERATOR_ROWS, "discriminator": DISCRIMINATOR_ROWS}

# About five minutes of one core for a cell.
DIGITS_KIMG = 80.0

command_line.define_config_flags()
command_line.define_data_location_flags()
flags.DEFINE_multi_enum("table", list(TABLES), list(TABLES), "Tables to make; may be given several times.")
flags.DEFINE_integer("seeds", 3, "Seeds per row: 0, 1, ...", lower_bound=1, upper_bound=1000)
flags.DEFINE_integer("jobs", 1, "Runs at a time; each gets its share of the cores.", lower_bound=1)
command_line.define_path("output_dir", "runs/ablations", "Folder of the runs and the tables.")
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
        fields.setdefault("train.total_kimg", DIGITS_KIMG)
    config = override(preset(FLAGS.dataset), fields)
    variants = dict.fromkeys(variant for table in FLAGS.table for variant, _, _ in TABLES[table])
    cells = {(variant, seed): _cell(variant, seed, fields) for seed in range(FLAGS.seeds) for variant in variants}
    try:
        with only_one(FLAGS.output_dir):
            _share_classifier(config, list(cells.values()))
            failed = sweep.run_cells(list(cells.values()), config.total_steps, FLAGS.jobs)
    except BlockingIOError as error:
        raise UserError(f"another process is at work in {FLAGS.output_dir!r}") from error
    except OSError as error:
        raise UserError(
            f"cannot write {FLAGS.output_dir!r} ({error.strerror}): choose another --output_dir"
        ) from error
    for table in FLAGS.table:
        rows = [
            (name, paper, [cells[variant, seed] for seed in range(FLAGS.seeds)])
            for variant, name, paper in TABLES[table]
        ]
        text = _markdown(rows, config.total_steps)
        with open(os.path.join(FLAGS.output_dir, f"{table}.md"), "w", encoding="utf-8") as file:
            file.write(text)
        print(text)
    if failed:
        raise UserError(f"{len(failed)} runs ended with an error; the first says why in {failed[0].log_path}")


def _cell(variant: str, seed: int, fields: dict[str, object]) -> sweep.Cell:
    model_dir = os.path.join(FLAGS.output_dir, variant, f"seed_{seed}")
    run = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run.py")
    settings = {name: ",".join(value) if isinstance(value, list) else value for name, value in fields.items()}
    own = {"dataset": FLAGS.dataset, "variant": variant, "train.seed": seed, "model_dir": model_dir}
    location = dataclasses.asdict(command_line.data_location_from_flags())
    given = {name: value for name, value in location.items() if value is not None}
    return sweep.Cell(variant, seed, sweep.python_command(run, {**own, **given, **settings}), model_dir)


def _share_classifier(config: ExperimentConfig, cells: list[sweep.Cell]) -> None:
    """One classifier for all runs: only then are their scores comparable."""
    path = os.path.join(FLAGS.output_dir, "digits_classifier.h5")
    if not os.path.exists(path):
        command_line.import_tensorflow()
        from vitgan_tf.data.digits import load_digits
        from vitgan_tf.evaluation.digits import load_or_train_classifier

        load_or_train_classifier(*load_digits(config.data.image_size), path)
    sweep.share_file(path, cells)


def _markdown(rows: list[tuple[str, str, list[sweep.Cell]]], total_steps: int) -> str:
    """The table: mean and standard deviation over the seeds at the last step, and each seed's value."""
    lines = [
        "| row | digits-FD, mean ± deviation | digits-FD of each seed | digits-IS, mean | paper: FID on CIFAR-10 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, paper, cells in rows:
        distances = sweep.scores_at(cells, total_steps, "digits_fd")
        inception = sweep.scores_at(cells, total_steps, "digits_is")
        if not distances:
            lines.append(f"| {name} | not finished | | | {paper} |")
            continue
        mean, deviation = sweep.mean_and_deviation(distances)
        each = ", ".join(f"{value:.4g}" for value in distances)
        score = sweep.mean_and_deviation(inception)[0]
        spread = f" ± {deviation:.2g}" if len(distances) > 1 else ""
        lines.append(f"| {name} | {mean:.4g}{spread} | {each} | {score:.4g} | {paper} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    command_line.run(main)
