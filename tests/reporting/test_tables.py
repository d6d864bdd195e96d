"""Tables of runs: numbers of the Markdown and the CSV by hand, and what is drawn."""

import csv
import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vitgan_tf.errors import UserError
from vitgan_tf.reporting.sweep import Cell
from vitgan_tf.reporting.tables import Row, write_table
from vitgan_tf.training.summaries import Summaries

pytestmark = pytest.mark.slow

STEPS, BATCH_SIZE = 100, 8


def _cell(folder, variant, seed, distances, norms=(), spike=2.0, speed=10.0, **scores):
    """A run with evaluations at the steps of `distances`, and a scalar every ten steps."""
    path = folder / variant / f"seed_{seed}"
    path.mkdir(parents=True)
    lines = [
        {"step": step, "kimg": step * BATCH_SIZE / 1000, "source": "training", "digits_fd": value, **scores}
        for step, value in distances.items()
    ]
    # What tools/evaluate.py adds is no part of the training.
    lines.append({"step": STEPS, "source": "evaluate", "digits_fd": 999.0, "digits_is": 999.0})
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    summaries = Summaries(str(path))
    for index, norm in enumerate(norms):
        scalars = {"d_gradient_norm": norm, "d_gradient_norm_spike": spike, "images_per_second": speed * (index + 1)}
        summaries.scalars(10 * (index + 1), scalars)
    return Cell(variant, seed, (), str(path))


@pytest.fixture
def rows(tmp_path):
    # Large in the first tenth of the steps, which do not count.
    norms = [50.0, 1.0, 2.0, 4.0, 3.0, 2.0, 1.0, 2.0, 2.0, 1.0]
    first = [
        _cell(
            tmp_path,
            "a",
            seed,
            {0: 90.0, 50: 40.0 + seed, STEPS: 20.0 + seed},
            norms,
            speed=10.0 - seed,
            digits_density=1.0 + seed,
        )
        for seed in (0, 1, 2)
    ]
    second = [
        _cell(
            tmp_path,
            "b",
            0,
            {0: 80.0, STEPS: 33.25},
            [1.0] * 10,
            spike=1.0,
            speed=2.5,
            coverage5k=0.5,
            num_swd=9,
            swd=7.5,
        ),
        _cell(tmp_path, "b", 1, {0: 80.0, 50: 60.0}),
        Cell("b", 2, (), str(tmp_path / "b" / "seed_2")),
    ]
    third = [Cell("c", seed, (), str(tmp_path / "c" / f"seed_{seed}")) for seed in (0, 1)]
    names = zip(("method", "other", "third"), (first, second, third), ("6.66", "12.7", ""))
    return [Row(name, tuple(cells), published) for name, cells, published in names]


def test_markdown(rows, tmp_path):
    text = write_table(str(tmp_path / "main"), rows, STEPS, BATCH_SIZE, "paper: FID")
    assert text == (tmp_path / "main.md").read_text()
    header, line, *body = ([cell.strip() for cell in row.split("|")[1:-1]] for row in text.splitlines())
    assert header[:3] == ["row", "digits_fd, mean ± deviation", "of each seed"] and header[-1] == "paper: FID"
    assert len({len(cells) for cells in (header, line, *body)}) == 1
    # 800 images at 55 per second.
    assert header[3] == "after 0.242 minutes of training"
    assert body[0][:8] == ["method", "21 ± 1", "20, 21, 22", "21", "", "2", "", "55"]
    # A median of 2, and 4 twice over it.
    assert body[0][9:] == ["2", "4", "6.66"]
    # One seed is not finished, and has no spread. A fourth of the speed: a fourth of the way from 80 to 33.25.
    assert body[1][:8] == ["other", "33.25 (1 of 3 seeds)", "33.25", "68.31", "7.5", "", "0.5", "13.8"]
    assert body[1][9:] == ["1", "1", "12.7"]
    assert body[2] == ["third", "not finished", *[""] * 10]


def test_minutes_are_those_between_the_events_of_each_process_of_the_fastest_seed(tmp_path):
    cells = []
    for seed, wait in enumerate((30.0, 90.0)):
        cell = _cell(tmp_path, "timed", seed, {STEPS: 1.0})
        for number, times in enumerate(((1000.0, 1030.0, 1090.0), (5000.0, 5000.0 + wait))):
            with tf.io.TFRecordWriter(f"{cell.model_dir}/events.out.tfevents.{number}") as writer:
                for time in times:
                    writer.write(tf.compat.v1.Event(wall_time=time, step=1).SerializeToString())
        cells.append(cell)
    text = write_table(str(tmp_path / "main"), [Row("timed", tuple(cells))], STEPS, BATCH_SIZE)
    assert text.splitlines()[-1] == "| timed | 1 ± 0 | 1, 1 |  |  |  |  |  | 2 |  |  |"


def test_csv_has_every_evaluation_of_the_training(rows, tmp_path):
    write_table(str(tmp_path / "main"), rows, STEPS, BATCH_SIZE)
    table = list(csv.DictReader(io.StringIO((tmp_path / "main.csv").read_text())))
    assert len(table) == 3 * 3 + 2 + 2
    assert [row["digits_fd"] for row in table if row["row"] == "method" and row["seed"] == "1"] == [
        "90.0",
        "41.0",
        "21.0",
    ]
    assert table[-1] == {
        **{"row": "other", "cell": "b", "seed": "1", "step": "50", "kimg": "0.4", "digits_fd": "60.0"},
        **{"digits_density": "", "swd": "", "coverage5k": ""},
    }


def test_picture(rows, tmp_path, monkeypatch):
    """The curves that are drawn, and their band: asked of matplotlib."""
    from matplotlib.axes import Axes

    drawn, bands = [], []
    plot, fill = Axes.plot, Axes.fill_between

    def recording_plot(axes, x, y, *args, **kwargs):
        drawn.append((kwargs.get("label"), np.array(x), np.array(y)))
        return plot(axes, x, y, *args, **kwargs)

    def recording_fill(axes, x, low, high, **kwargs):
        bands.append((np.array(x), np.array(low), np.array(high)))
        return fill(axes, x, low, high, **kwargs)

    monkeypatch.setattr(Axes, "plot", recording_plot)
    monkeypatch.setattr(Axes, "fill_between", recording_fill)
    write_table(str(tmp_path / "main"), rows, STEPS, BATCH_SIZE)
    label, kimg, mean = drawn[0]
    assert label == "method"
    np.testing.assert_allclose(kimg, [0.0, 0.4, 0.8])
    np.testing.assert_allclose(mean, [90.0, 41.0, 21.0])
    np.testing.assert_allclose(bands[0][1], [90.0, 40.0, 20.0])
    np.testing.assert_allclose(bands[0][2], [90.0, 42.0, 22.0])
    _, steps, largest = drawn[1]
    np.testing.assert_allclose(steps, 10 * np.arange(1, 11))
    np.testing.assert_allclose(largest[:4], [100.0, 2.0, 4.0, 8.0])
    # Of its seeds, the one that is finished.
    label, kimg, mean = drawn[2]
    assert label == "other"
    np.testing.assert_allclose(kimg, [0.0, 0.8])
    np.testing.assert_allclose(mean, [80.0, 33.25])
    with Image.open(tmp_path / "main.png") as image:
        assert image.size == (1100, 550)
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 50


@pytest.mark.parametrize("field", ["real_fingerprint", "num_generated"])
def test_scores_that_do_not_compare_are_refused(tmp_path, field):
    cells = [_cell(tmp_path, "a", seed, {STEPS: 1.0}, **{field: 2000 + seed}) for seed in (0, 1)]
    with pytest.raises(UserError, match=f"evaluated under different protocols .{field}: 2000, 2001"):
        write_table(str(tmp_path / "main"), [Row("a", tuple(cells))], STEPS, BATCH_SIZE)
    assert not (tmp_path / "main.md").exists()


def test_rows_with_and_without_noise_compare_but_not_other_noise(tmp_path):
    noises = {"a": None, "b": "per_image", "c": "fixed"}
    rows = {name: Row(name, (_cell(tmp_path, name, 0, {STEPS: 1.0}, noise=noise),)) for name, noise in noises.items()}
    write_table(str(tmp_path / "main"), [rows["a"], rows["b"]], STEPS, BATCH_SIZE)
    with pytest.raises(UserError, match="noise: per_image, fixed"):
        write_table(str(tmp_path / "other"), list(rows.values()), STEPS, BATCH_SIZE)
    earlier = Row("d", (_cell(tmp_path, "d", 0, {STEPS: 1.0}),))
    write_table(str(tmp_path / "earlier"), [earlier, rows["a"]], STEPS, BATCH_SIZE)
    with pytest.raises(UserError, match="noise: not recorded, per_image"):
        write_table(str(tmp_path / "other"), [earlier, rows["b"]], STEPS, BATCH_SIZE)
