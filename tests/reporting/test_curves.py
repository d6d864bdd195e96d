"""Which points of a long curve are drawn."""

import numpy as np

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
