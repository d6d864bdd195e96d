"""Writes a table of runs as Markdown and CSV, with a plot of their training."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import os
import re
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vitgan_tf.errors import UserError
from vitgan_tf.evaluation.protocol import Protocol
from vitgan_tf.files import write_atomically
from vitgan_tf.reporting.curves import set_logarithmic_y
from vitgan_tf.reporting.sweep import Cell, mean_and_deviation, scores_at
from vitgan_tf.runs.events import Events, read_events
from vitgan_tf.runs.metrics import SWD, distance_name

GRADIENT_NORM = "d_gradient_norm"
# Initial fraction of a run, left out of the gradient statistics: early gradients are large in any network.
_WARM_UP = 0.1
# Scores beside the distance.
_SCORES = (SWD, "density", "coverage")
# Fields in which comparable evaluations agree: all but the seed of the latents, which is the run's.
_PROTOCOL = tuple(field.name for field in dataclasses.fields(Protocol) if field.name != "seed")


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
      name: name of the row.
      cells: runs of the row, one per seed.
      published: the paper's figure; empty if there is none.
    """

    name: str
    cells: tuple[Cell, ...]
    published: str = ""


def write_table(path: str, rows: Sequence[Row], total_steps: int, batch_size: int, published: str = "") -> str:
    """Writes <path>.md, <path>.csv and <path>.png.

    Columns of the Markdown:

    - Frechet distance at the last step: mean and standard deviation over the seeds (divisor n - 1), and each value.
    - The same after the time that the quickest row trains, evaluations excluded: mean over the seeds, interpolated
      between evaluations, the first of which is at step 0.
    - Sliced Wasserstein distance, density and coverage: means over the seeds; empty where there is none.
    - Images per second, and minutes including evaluations: the fastest seed, because other work on the machine slows
      runs down.
    - Gradient norm of the discriminator after the first tenth of the steps: median, and ratio of maximum to median,
      both averaged over the seeds.

    The CSV lists every evaluation of every run. The plot shows the distance over kimg, mean and range over the seeds;
    and the first seed's largest gradient norm of the discriminator in each interval between scalars.

    Args:
      path: path of the files without their suffixes.
      rows: rows in order.
      total_steps: length of every run.
      batch_size: generated images per step of every run.
      published: heading of the column with the paper's figures; empty for no such column.

    Returns:
      The Markdown.

    Raises:
      UserError: the runs were evaluated under different protocols: other real images, numbers of images or networks.
    """
    lines = [line for row in rows for cell in row.cells for line in cell.training_metrics()]
    distance = distance_name(lines) or "distance"
    _check_protocol(path, [line for line in lines if line["step"] == total_steps])
    events = {
        cell: read_events(cell.model_dir) for row in rows for cell in row.cells if os.path.isdir(cell.model_dir)
    }
    scores = [_full_name(score, lines) for score in _SCORES]
    markdown = _markdown(rows, distance, scores, events, total_steps, published)
    write_atomically(f"{path}.md", markdown.encode())
    write_atomically(f"{path}.csv", _csv(rows).encode())
    write_atomically(f"{path}.png", _picture(rows, distance, events, total_steps, batch_size))
    return markdown


def _check_protocol(path: str, lines: Sequence[dict[str, Any]]) -> None:
    for field in _PROTOCOL:
        values = dict.fromkeys(str(line[field]) for line in lines if field in line)
        if field == "noise":
            # None for generators without noise. Lines of earlier versions do not say which noise they have.
            values = dict.fromkeys(str(line.get(field, "not recorded")) for line in lines)
            values.pop("None", None)
        if len(values) > 1:
            raise UserError(
                f"the runs of {path!r} were evaluated under different protocols ({field}: {', '.join(values)}): "
                "train them again in another --output_dir"
            )


def _markdown(
    rows: Sequence[Row],
    distance: str,
    scores: Sequence[str],
    events: dict[Cell, Events],
    total_steps: int,
    published: str,
) -> str:
    finished = [[cell for cell in row.cells if scores_at([cell], total_steps, distance)] for row in rows]
    times = [_training_seconds(cells, events, total_steps) for cells in finished]
    equal = min((seconds for seconds in times if seconds is not None), default=math.nan)
    header = ["row", f"{distance}, mean ± deviation", "of each seed"]
    header += ["after equal minutes" if math.isnan(equal) else f"after {equal / 60:.3g} minutes of training"]
    header += [*(f"{score}, mean" for score in scores), "images/s", "minutes"]
    header += [f"median of {GRADIENT_NORM}", "largest over median", *[published] * bool(published)]
    table = [header, ["---"] * len(header)]
    for row, cells, seconds in zip(rows, finished, times):
        line = ["not finished", *[""] * (len(header) - 2 - bool(published))]
        if cells:
            step = None if seconds is None else equal / seconds * total_steps
            line = [
                *_distances_of_row(row, cells, distance, total_steps),
                "" if step is None else _mean([_distance_after(step, cell, distance) for cell in cells]),
                *(_mean(scores_at(cells, total_steps, score)) for score in scores),
                *_costs_and_gradients(cells, events, total_steps),
            ]
        table.append([row.name, *line, *[row.published] * bool(published)])
    return "".join(f"| {' | '.join(words)} |\n" for words in table)


def _training_seconds(cells: Sequence[Cell], events: dict[Cell, Events], total_steps: int) -> float | None:
    """Returns the seconds that the fastest cell trains, without evaluations; None if its speed is not known."""
    speed, kimg = _speed(cells, events), scores_at(cells, total_steps, "kimg")
    return 1000 * kimg[0] / speed if speed and kimg else None


def _speed(cells: Sequence[Cell], events: dict[Cell, Events]) -> float | None:
    """Returns the images per second of the fastest cell."""
    medians = [_median(events[cell], "images_per_second") for cell in cells]
    return max((median for median in medians if median is not None), default=None)


def _distances_of_row(row: Row, finished: Sequence[Cell], distance: str, total_steps: int) -> tuple[str, str]:
    distances = scores_at(finished, total_steps, distance)
    mean, deviation = mean_and_deviation(distances)
    spread = f" ± {deviation:.2g}" if len(distances) > 1 else ""
    missing = f" ({len(finished)} of {len(row.cells)} seeds)" if len(finished) < len(row.cells) else ""
    return f"{mean:.4g}{spread}{missing}", ", ".join(f"{value:.4g}" for value in distances)


def _distance_after(step: float, cell: Cell, distance: str) -> float:
    """Returns the distance after a number of steps, interpolated between evaluations."""
    curve = _distances(cell, distance)
    return float(np.interp(step, list(curve), list(curve.values())))


def _full_name(score: str, lines: Sequence[dict[str, Any]]) -> str:
    """Returns the name of a score with the prefix and the suffix of the runs' protocol."""
    names = dict.fromkeys(name for line in lines for name, value in line.items() if isinstance(value, float))
    return next((name for name in names if re.fullmatch(rf"(\w+_)?{score}(\d+\w*)?", name)), score)


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.4g}" if values else ""


def _costs_and_gradients(cells: Sequence[Cell], events: dict[Cell, Events], total_steps: int) -> list[str]:
    speed, norms = _speed(cells, events), [_gradient_norms(events[cell], total_steps) for cell in cells]

    def formatted(function: Callable[[list[float]], float], values: list[float | None]) -> str:
        known = [value for value in values if value is not None]
        return f"{function(known):.3g}" if known else ""

    return [
        "" if speed is None else f"{speed:.3g}",
        formatted(min, [events[cell].seconds / 60 or None for cell in cells]),
        formatted(statistics.fmean, [median for median, _ in norms]),
        formatted(statistics.fmean, [largest / median if median else None for median, largest in norms]),
    ]


def _median(events: Events, name: str) -> float | None:
    values = events.scalars.get(name, {}).values()
    return statistics.median(values) if values else None


def _gradient_norms(events: Events, total_steps: int) -> tuple[float | None, float]:
    """Returns the median and the largest gradient norm of the discriminator after the warm-up."""
    norms, largest = _norms_by_step(events)
    late = [step for step in norms if step > _WARM_UP * total_steps]
    if not late:
        return None, 0.0
    return statistics.median(norms[step] for step in late), max(largest[step] for step in late)


def _norms_by_step(events: Events) -> tuple[dict[int, float], dict[int, float]]:
    """Returns the mean and the largest gradient norm of the discriminator between scalars, by step."""
    norms, spikes = events.scalars.get(GRADIENT_NORM, {}), events.scalars.get(f"{GRADIENT_NORM}_spike", {})
    return norms, {step: norm * spikes.get(step, 1.0) for step, norm in norms.items()}


def _csv(rows: Sequence[Row]) -> str:
    """Returns one line per evaluation, with its floating-point entries: the scores but not the settings."""
    lines = [(row, cell, line) for row in rows for cell in row.cells for line in cell.training_metrics()]
    names = {name: None for *_, line in lines for name, value in line.items() if isinstance(value, float)}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "cell", "seed", "step", *names])
    for row, cell, line in lines:
        writer.writerow([row.name, cell.variant, cell.seed, line["step"], *map(line.get, names)])
    return text.getvalue()


def _picture(
    rows: Sequence[Row], distance: str, events: dict[Cell, Events], total_steps: int, batch_size: int
) -> bytes:
    # Imported here because it takes a second.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for index, row in enumerate(rows):
        colour = f"C{index % 10}"
        style = {"color": colour, "linestyle": "-" if index < 10 else "--", "linewidth": 1.5}
        curves = [curve for curve in (_distances(cell, distance) for cell in row.cells) if curve]
        # Only finished runs count or, if there are none, all that have begun. Only steps that all of them have count.
        curves = [curve for curve in curves if total_steps in curve] or curves
        steps = sorted(step for step in set().union(*curves) if all(step in curve for curve in curves))
        if steps:
            values = np.array([[curve[step] for step in steps] for curve in curves])
            kimg = np.array(steps) * batch_size / 1000
            left.plot(kimg, values.mean(axis=0), label=row.name, **style)
            left.fill_between(kimg, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)
        if row.cells[0] in events:
            _, largest = _norms_by_step(events[row.cells[0]])
            if largest:
                right.plot(*zip(*sorted(largest.items())), **{**style, "linewidth": 0.8})
    left.set(xlabel="kimg", title=f"{distance}: mean and range over the seeds")
    right.set(xlabel="step", title=f"{GRADIENT_NORM}: maxima of the first seed")
    right.set_xlim(0, total_steps)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            set_logarithmic_y(axes)
    handles = dict(zip(*reversed(left.get_legend_handles_labels())))
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()


def _distances(cell: Cell, distance: str) -> dict[int, float]:
    """Returns the distance by step."""
    return {line["step"]: line[distance] for line in cell.training_metrics() if distance in line}
