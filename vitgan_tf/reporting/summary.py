"""Summaries of several evaluations of a model: of several seeds, and of several truncations."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from vitgan_tf.reporting.sweep import mean_and_deviation
from vitgan_tf.runs.metrics import TRAINING, distance_name


def summarize(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns an entry per truncation: its seeds, and mean and deviation of each score over them.

    Args:
      results: lines of `Scoring.result`, of one model and one protocol but for seed and truncation.

    Returns:
      For each truncation, in the order of the results: truncation, seeds, and {score: [mean, deviation]} as "scores";
      the deviation has the divisor n - 1, and is None for a single seed. Scores that are None, deviations and
      reference values are left out.
    """
    entries = []
    for truncation in dict.fromkeys(result["truncation"] for result in results):
        chosen = [result for result in results if result["truncation"] == truncation]
        scores = {
            name: _mean_and_deviation([result[name] for result in chosen])
            for name in score_names(chosen[0])
            if not name.endswith(("_std", "_half_split"))
        }
        entries.append({"truncation": truncation, "seeds": [result["seed"] for result in chosen], "scores": scores})
    return entries


def headline(scores: Mapping[str, Any]) -> str:
    """Returns the distance of a result in words, with that of two halves of the real images where it is known."""
    name = distance_name([{**scores, "source": TRAINING}])
    if name is None or not isinstance(scores[name], float):
        return ""
    floor = scores.get(f"{name}_half_split")
    return f"{name} {scores[name]:.4g}" + (f" (half-split {floor:.4g})" if isinstance(floor, float) else "")


def score_names(result: dict[str, Any]) -> list[str]:
    """Returns the names of the scores of a result that are numbers."""
    names = list(result)
    names = names[names.index("not_comparable_with_published") + 1 :]
    return [name for name in names if isinstance(result[name], float)]


def _mean_and_deviation(values: Sequence[float]) -> list[float | None]:
    mean, deviation = mean_and_deviation(values)
    return [mean, deviation if len(values) > 1 else None]  # JSON has no NaN


def summary_table(entries: Sequence[dict[str, Any]]) -> str:
    """Returns entries of `summarize` as a Markdown table: a row per truncation, mean ± deviation of its scores."""
    names = list(dict.fromkeys(name for entry in entries for name in entry["scores"]))
    lines = [["truncation", "seeds", *names], ["---"] * (2 + len(names))]
    for entry in entries:
        seeds = ", ".join(map(str, entry["seeds"]))
        lines.append([f"{entry['truncation']:g}", seeds, *(_cell(*entry["scores"].get(name, ())) for name in names)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(mean: float | None = None, deviation: float | None = None) -> str:
    if mean is None:
        return ""
    return f"{mean:.4g}" + (f" ± {deviation:.2g}" if deviation is not None else "")


def trade_off(entries: Sequence[dict[str, Any]]) -> bytes | None:
    """Returns a PNG of precision against recall, a point with its deviation per truncation; None without these.

    Args:
      entries: result of `summarize`.
    """
    scores = entries[0]["scores"]
    names = [
        next((name for name in scores if re.fullmatch(rf"(.*_)?{kind}(\d.*)?", name)), "")
        for kind in ("recall", "precision")
    ]
    if not all(names):
        return None
    # Imported here because it takes a second.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 5.0), layout="constrained")
    axes = figure.add_subplot()
    (x, dx), (y, dy) = (zip(*(entry["scores"][name] for entry in entries)) for name in names)
    axes.errorbar(x, y, xerr=[value or 0 for value in dx], yerr=[value or 0 for value in dy], marker="o", capsize=2)
    for entry, position in zip(entries, zip(x, y)):
        axes.annotate(f"{entry['truncation']:g}", position, xytext=(5, 5), textcoords="offset points")
    axes.set(xlabel=names[0], ylabel=names[1], title="truncation psi", xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    return content.getvalue()
