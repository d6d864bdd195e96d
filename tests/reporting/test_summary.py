"""Summaries of evaluations over seeds and truncations."""

import io

import numpy as np
from PIL import Image

from vitgan_tf.reporting.summary import summarize, summary_table, trade_off

RESULTS = [
    {
        "seed": seed,
        "truncation": truncation,
        "num_real": 7,
        "not_comparable_with_published": [],
        "x_fd": 10.0 * truncation + seed,
        "x_kd_std": 0.5,
        "x_kd": None,
        "x_precision": 0.9 - 0.1 * truncation,
        "x_recall": 0.2 + 0.3 * truncation + 0.01 * seed,
        "x_class_fractions": [0.5, 0.5],
    }
    for truncation in (0.5, 1.0)
    for seed in (3, 4, 6)
]


def test_each_truncation_has_mean_and_deviation_over_its_seeds():
    half, whole = summarize(RESULTS)
    assert (half["truncation"], whole["truncation"], half["seeds"]) == (0.5, 1.0, [3, 4, 6])
    assert set(half["scores"]) == {"x_fd", "x_precision", "x_recall"}
    np.testing.assert_allclose(half["scores"]["x_fd"], [np.mean([8, 9, 11]), np.std([8, 9, 11], ddof=1)])
    np.testing.assert_allclose(whole["scores"]["x_precision"], [0.8, 0.0], atol=1e-12)


def test_one_seed_has_no_deviation():
    entries = summarize(RESULTS[::3])
    assert [entry["scores"]["x_fd"] for entry in entries] == [[8.0, None], [13.0, None]]
    assert summary_table(entries).splitlines()[2] == "| 0.5 | 3 | 8 | 0.85 | 0.38 |"


def test_the_table_has_a_row_for_each_truncation():
    lines = summary_table(summarize(RESULTS)).splitlines()
    assert lines[0] == "| truncation | seeds | x_fd | x_precision | x_recall |" and len(lines) == 4
    assert lines[3].startswith("| 1 | 3, 4, 6 | 14.33 ± 1.5 | 0.8 ± ")


def test_a_score_of_one_truncation_alone_leaves_cells_empty():
    results = [{**result, "x_ppl": 5.0} if result["truncation"] == 1.0 else result for result in RESULTS]
    lines = summary_table(summarize(results)).splitlines()
    assert lines[0].endswith("| x_ppl |") and lines[2].endswith(" |  |") and lines[3].endswith("| 5 ± 0 |")


def test_the_picture_shows_precision_against_recall():
    picture = Image.open(io.BytesIO(trade_off(summarize(RESULTS))))
    assert picture.size == (750, 750) and len(np.unique(np.asarray(picture))) > 10
    without = [{**result} for result in RESULTS]
    for result in without:
        del result["x_recall"]
    assert trade_off(summarize(without)) is None
