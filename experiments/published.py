"""The paper's figures beside ours: python experiments/published.py [--record=RUN_DIRECTORY]

Writes docs/published.md from docs/published.csv, the figures of the paper, and docs/measured.jsonl, ours. --record
adds to the latter the newest result in a run's metrics.jsonl that compares with published ones; none is typed in.
"""

from __future__ import annotations

import csv
import json
import os

from absl import flags, logging

from vitgan_tf import command_line
from vitgan_tf.config import ConfigError, ExperimentConfig, differences, from_dict
from vitgan_tf.errors import UserError
from vitgan_tf.files import append_json_line, read_json_lines, write_atomically
from vitgan_tf.presets import VARIANTS, preset

_DOCS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs")
SCORES = {"FID": "fid50k_full", "IS": "is50k"}
TITLES = {"main": "Main table", "generator": "Generator ablation"}
# A row may have runs of several seeds and lengths.
_IGNORED = ("train.seed", "train.total_kimg", "train.xla", "log.", "eval.")

command_line.define_path("record", None, "Run directory whose newest comparable result is added.")
command_line.define_path("docs_dir", _DOCS, "Folder of published.csv, measured.jsonl and published.md.")
FLAGS = flags.FLAGS


def main(_):
    measured_path = os.path.join(FLAGS.docs_dir, "measured.jsonl")
    try:
        measured = read_json_lines(measured_path) if os.path.exists(measured_path) else []
        added = _result(FLAGS.record) if FLAGS.record else None
        if added is not None and added not in measured:
            measured.append(added)
            append_json_line(measured_path, added)
        with open(os.path.join(FLAGS.docs_dir, "published.csv"), encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        path = os.path.join(FLAGS.docs_dir, "published.md")
        write_atomically(path, _markdown(rows, measured).encode())
    except OSError as error:
        raise UserError(f"cannot read or write {error.filename!r}: {error.strerror}") from error
    logging.info("%s: %d measured results", path, len(measured))


def _result(run_dir: str) -> dict:
    """The newest result of a run that compares with published ones, with what made it."""
    try:
        with open(os.path.join(run_dir, "config.json"), encoding="utf-8") as file:
            content = json.load(file)
        config = from_dict(content["config"])
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise UserError(f"{run_dir!r} is not a run of this version ({error})") from error
    lines = read_json_lines(os.path.join(run_dir, "metrics.jsonl"))
    comparable = [line for line in lines if _is_comparable(line)]
    if not comparable:
        raise UserError(f"{run_dir!r} has no result that compares with published ones: run tools/evaluate.py on it")
    origin = {name: content.get(name) for name in ("command", "commit", "versions")}
    return {"variant": _variant(config, run_dir), "seed_of_training": config.train.seed, **origin, **comparable[-1]}


def _is_comparable(line: dict) -> bool:
    named = isinstance(line, dict) and all(name in line for name in SCORES.values())
    return named and line["not_comparable_with_published"] == [] and line["weights"] == "ema"


def _variant(config: ExperimentConfig, run_dir: str) -> str:
    name = config.data.dataset
    for variant in VARIANTS:
        if not differences(preset(name, variant), config, _IGNORED):
            return variant
    changed = "; ".join(differences(preset(name), config, _IGNORED))
    raise UserError(f"{run_dir!r} is no row of the tables: {changed}")


def _markdown(rows: list[dict], measured: list[dict]) -> str:
    parts = [_HEAD]
    for table, title in TITLES.items():
        parts.append(f"\n## {title}\n\n| model | data | score | paper | measured here | step, command, commit |\n")
        parts.append("| --- | --- | --- | --- | --- | --- |\n")
        for row in rows:
            if row["table"] == table:
                note = f" ({row['note']})" if row["note"] else ""
                values, origins = _measured(row, measured)
                cells = (row["row"], row["dataset"], row["metric"], row["published"] + note, values, origins)
                parts.append(f"| {' | '.join(cells)} |\n")
    return "".join(parts)


def _measured(row: dict, measured: list[dict]) -> tuple[str, str]:
    """Our figures of a row, one for each run, and what made them."""
    key = row["preset"], row["variant"]
    lines = [line for line in measured if row["preset"] and (line["dataset"], line["variant"]) == key]
    values = [f"{line[SCORES[row['metric']]]:.4g}" for line in lines]
    origins = [f"{line['step']}, `{' '.join(line['command'] or [])}`, {line['commit']}" for line in lines]
    return "; ".join(values), "; ".join(origins)


_HEAD = """# The paper's figures, and ours

Written by `python experiments/published.py`. The paper's figures are in [published.csv](published.csv); ours come, by
`--record`, out of results of `tools/evaluate.py`, and are empty where nothing was measured. FID: of 50,000 generated
images against the training images, lower is better. IS: higher is better.
"""


if __name__ == "__main__":
    command_line.run(main)
