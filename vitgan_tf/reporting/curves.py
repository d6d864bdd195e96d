"""Charts of a run over time, as SVG."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vitgan_tf.runs.metrics import SWD, distance_name, training_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# (title, names of the event scalars, whether the y axis is logarithmic)
CHARTS = (
    ("Losses", ("d_loss", "g_loss"), False),
    ("Mean logits", ("real_logits", "fake_logits"), False),
    ("Gradient norms", ("d_gradient_norm", "g_gradient_norm"), True),
    ("Gradient norms: maximum over mean", ("d_gradient_norm_spike", "g_gradient_norm_spike"), False),
    ("Regularisers", ("bcr_real", "bcr_fake", "r1", "lecam", "path_penalty"), True),
    ("Images per second", ("images_per_second",), False),
    ("Standard deviation of samples, grey levels of 255", ("samples_deviation",), False),
)
# Maximum number of points of a curve: a chart has 400 pixels.
MAX_POINTS = 400
# Longer names of scores are cut.
_MAX_NAME = 60

Curve = Mapping[int, float]
"""Values by step."""


def charts(
    scalars: Mapping[str, Curve], lines: Sequence[Mapping[str, Any]], kimg_per_step: float
) -> Iterator[tuple[str, bytes]]:
    """Yields titles and SVG files, first those of the distances. Long runs have no larger files.

    Args:
      scalars: event scalars by name.
      lines: lines of metrics.jsonl.
      kimg_per_step: thousands of real images per step.
    """
    for name in dict.fromkeys([distance_name(lines) or SWD, SWD]):
        curve = {line["step"]: line[name] for line in training_lines(lines) if name in line}
        if curve:
            title = name[:_MAX_NAME]
            yield title, _chart(title, {title: curve}, True, kimg_per_step)
    for title, names, is_logarithmic in CHARTS:
        curves = {name: scalars[name] for name in names if name in scalars}
        if curves:
            yield title, _chart(title, curves, is_logarithmic, kimg_per_step)


def thinned(values: Sequence[float]) -> list[int]:
    """Returns indices of at most MAX_POINTS values: the first, the last, and the extremes of each stretch between.

    A stretch without finite values keeps one that is not finite, which is a gap of the curve.
    """
    if len(values) <= MAX_POINTS:
        return list(range(len(values)))
    is_finite = np.isfinite(values)
    lows, highs = np.where(is_finite, values, np.inf), np.where(is_finite, values, -np.inf)
    kept = {0, len(values) - 1}
    for stretch in np.array_split(np.arange(len(values)), MAX_POINTS // 2 - 1):
        kept |= {int(stretch[lows[stretch].argmin()]), int(stretch[highs[stretch].argmax()])}
    return sorted(kept)


def _chart(title: str, curves: Mapping[str, Curve], is_logarithmic: bool, kimg_per_step: float) -> bytes:
    """Returns an SVG of curves over kimg, thousands of real images."""
    # Imported here because it takes a second.
    from matplotlib.figure import Figure

    # On a phone, the chart is shrunk to three quarters: letters of 8 pixels stay.
    figure = Figure(figsize=(4.8, 2.9), layout="constrained")
    axes = figure.add_subplot()
    for name, curve in curves.items():
        steps = sorted(curve)
        steps = [steps[index] for index in thinned([curve[step] for step in steps])]
        axes.plot([step * kimg_per_step for step in steps], [curve[step] for step in steps], label=name, linewidth=1)
    values = [value for curve in curves.values() for value in curve.values()]
    is_wide = min(values) > 0 and max(values) > 10 * min(values)
    axes.set(title=title, xlabel="kimg")
    if is_logarithmic and is_wide:
        set_logarithmic_y(axes)
    axes.grid(alpha=0.3)
    if len(curves) > 1:
        axes.legend()
    content = io.BytesIO()
    figure.savefig(content, format="svg")
    return content.getvalue()


def set_logarithmic_y(axes: Axes) -> None:
    """Makes the y axis of drawn curves logarithmic, with plain numbers: 1, 2, 5, 10 and so on, or powers of 10."""
    from matplotlib.ticker import LogLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
