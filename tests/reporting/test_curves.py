"""Which points of a long curve are drawn."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from vitgan_tf.reporting import curves


def test_spikes_ends_and_gaps_stay():
    values = np.random.default_rng(0).normal(size=123_457)
    values[[50_000, 90_001]] = 100.0, -100.0
    values[60_000:61_000], values[30], values[77_000] = np.nan, np.nan, np.inf
    kept = curves.thinned(values)
    assert len(kept) <= curves.MAX_POINTS and kept == sorted(set(kept))
    assert {0, 50_000, 90_001, 123_456} <= set(kept) and not {30, 77_000} & set(kept)
    assert any(60_000 <= index < 61_000 for index in kept)  # not finite: the curve has a gap
    # The band that a dense curve covers is as wide as before.
    drawn = values[kept]
    assert np.isfinite(drawn).mean() > 0.9 and np.nanmean(np.abs(drawn)) > 2


def test_short_curves_are_whole():
    values = [float("nan"), *range(curves.MAX_POINTS - 1)]
    assert curves.thinned(values) == list(range(curves.MAX_POINTS))


@pytest.mark.parametrize(
    "low, high, expected", [(1.0, 2.0, {1, 2}), (0.9, 60.0, {1, 2, 5, 10, 20, 50}), (1e-9, 10.0, set())]
)
def test_logarithmic_axes_have_numbers(low, high, expected):
    figure = Figure(figsize=(4.8, 2.9))
    axes = figure.add_subplot()
    axes.plot([0, 1], [low, high])
    curves.set_logarithmic_y(axes)
    figure.canvas.draw()
    below, above = axes.get_ylim()
    shown = {label.get_text() for label in axes.get_yticklabels() if below <= label.get_position()[1] <= above}
    assert len(shown) > 1 and {f"{value:g}" for value in expected} <= shown
