"""When callbacks act, and what they write."""

import dataclasses
import io
import json
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from support.events import events as written_events

from vitgan_tf.errors import UserError
from vitgan_tf.evaluation.generation import ImageSampler
from vitgan_tf.evaluation.protocol import Protocol
from vitgan_tf.images import image_grid
from vitgan_tf.models.build import build_generator
from vitgan_tf.presets import preset
from vitgan_tf.runs.directory import RunDirectory
from vitgan_tf.training.callbacks.base import StepCallback
from vitgan_tf.training.callbacks.guards import StopOnDivergence
from vitgan_tf.training.callbacks.progress import ProgressBar
from vitgan_tf.training.callbacks.writers import (
    CheckpointWriter,
    MetricsWriter,
    SampleWriter,
    ScalarWriter,
    write_real_images,
)
from vitgan_tf.training.summaries import Summaries, written_if_possible

LOGS = {"d_loss": 1.5, "g_loss": 0.5}

PROTOCOL = Protocol(
    dataset="tiny",
    split="training",
    image_size=8,
    num_channels=1,
    real_fingerprint="0",
    num_real=9,
    num_split=9,
    num_real_kept=9,
    num_generated=9,
    seed=0,
    extractor="grey",
    extractor_sha256="0",
    is_published_extractor=False,
    feature_dim=1,
    resize="none",
)


class _Model:
    """What callbacks see of a GAN."""

    def __init__(self):
        self.ema_generator = build_generator(preset("tiny"))
        self.resets = 0

    def reset_metrics(self):
        self.resets += 1


def _sampler(model):
    return ImageSampler(model.ema_generator, 16)


class _Recorder(StepCallback):
    def __init__(self, **schedule):
        super().__init__(**schedule)
        self.steps = []

    def at_step(self, step, logs):
        self.steps.append(step)


def _run(callback, steps, model=None):
    callback.set_model(model or _Model())
    callback.on_train_begin()
    for batch in range(steps):
        callback.on_train_batch_begin(batch)
        callback.on_train_batch_end(batch, LOGS)
    callback.on_train_end()


@pytest.mark.parametrize(
    "first_step, total, period, expected",
    [
        (0, 10, 4, [4, 8, 10]),
        (0, 10, 5, [5, 10]),
        (3, 10, 4, [4, 8, 10]),  # resumed between two calls
        (8, 10, 4, [10]),  # resumed right after a call
        (0, 10, 100, [10]),  # a period longer than the run
        (9, 10, 3, [10]),
    ],
)
def test_acts_at_multiples_of_the_period_and_at_the_end(first_step, total, period, expected):
    callback = _Recorder(first_step=first_step, total_steps=total, period=period)
    _run(callback, total - first_step)
    assert callback.steps == expected


def test_acts_at_the_first_chance_where_steps_come_several_at_a_time(tmp_path, monkeypatch):
    """Executions of 3, 3 and 1 steps: periods end at 2, 4 and 6. The speed is that of the last 4 steps."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    callback = _Recorder(first_step=0, total_steps=7, period=2)
    writer = ScalarWriter(Summaries(str(tmp_path)), 8, first_step=0, total_steps=7, period=7)
    writer.set_model(tf.keras.Model())
    for last, pause in ((2, 9.0), (5, 0.3), (6, 0.1)):
        for one in (callback, writer):
            one.on_train_batch_begin(last)
        now[0] += pause
        for one in (callback, writer):
            one.on_train_batch_end(last, {})
    assert callback.steps == [3, 6, 7]
    speeds = [value for _, tag, value in written_events(tmp_path) if tag == "images_per_second"]
    np.testing.assert_allclose(speeds, [8 * 4 / 0.4], rtol=1e-5)


def test_divergence_names_step_and_metric():
    callback = StopOnDivergence(first_step=10, total_steps=20)
    callback.on_train_batch_end(0, LOGS)
    with pytest.raises(UserError, match="g_loss not finite at step 12"):
        callback.on_train_batch_end(1, {"d_loss": 1.0, "g_loss": float("nan")})


def test_scalars_are_written_and_metrics_reset(tmp_path):
    model = _Model()
    summaries = Summaries(str(tmp_path))
    _run(ScalarWriter(summaries, 8, first_step=0, total_steps=5, period=2), 5, model)
    events = written_events(tmp_path)
    assert [(step, float(value)) for step, tag, value in events if tag == "d_loss"] == [(2, 1.5), (4, 1.5), (5, 1.5)]
    rates = [float(value) for _, tag, value in events if tag == "images_per_second"]
    assert len(rates) == 3 and min(rates) > 0
    assert model.resets == 3


@pytest.mark.parametrize("flip, count", [(False, 120), (True, 120), (True, 7)])
def test_real_images_are_written_as_the_networks_see_them(tmp_path, flip, count):
    directory = RunDirectory(str(tmp_path), preset("tiny"))
    images = np.random.RandomState(0).randint(0, 256, (count, 6, 6, 1)).astype(np.uint8)
    write_real_images(directory, images, seed=3, flip=flip)
    grid = tf.io.decode_png((tmp_path / "samples" / "real.png").read_bytes()).numpy()
    factor = grid.shape[1] // 69
    shown = [
        grid[factor * 7 * (i // 10) :, factor * 7 * (i % 10) :][: 6 * factor : factor, : 6 * factor : factor]
        for i in range(min(count, 100))
    ]
    known = {image.tobytes(): (index, False) for index, image in enumerate(images)}
    known.update({image[:, ::-1].tobytes(): (index, True) for index, image in enumerate(images)})
    found = [known[image.tobytes()] for image in shown]
    assert len({index for index, _ in found}) == min(count, 100)
    assert {mirrored for _, mirrored in found} == ({False, True} if flip else {False})


def test_sample_grids_come_from_the_same_latents(tmp_path):
    model = _Model()
    directory = RunDirectory(str(tmp_path), preset("tiny"))
    summaries = Summaries(str(tmp_path))
    sampler = _sampler(model)
    _run(SampleWriter(directory, summaries, sampler, seed=3, first_step=0, total_steps=2, period=1), 2, model)
    paths = sorted((tmp_path / "samples").iterdir())
    assert [path.name for path in paths] == [f"step_{step:08d}.png" for step in range(3)]
    grids = [tf.io.decode_png(path.read_bytes()).numpy() for path in paths]
    expected = image_grid(sampler.images(100, seed=3), 10, 640)
    for grid in grids:
        np.testing.assert_array_equal(grid, expected)
    assert [(step, tag) for step, tag, _ in written_events(tmp_path)] == [(step, "samples") for step in range(3)]


class _Evaluator:
    """Scores by the mean grey level, so that it is known which image set was scored."""

    protocol = dataclasses.replace(PROTOCOL, num_generated=7, seed=5)
    distance_name = "score"

    def evaluate(self, batches):
        images = np.concatenate(list(batches))
        assert images.shape == (7, 8, 8, 1)
        return {"score": float(images.mean()), "undefined": None, "fractions": [0.5, 0.5]}


class _Best:
    def __init__(self):
        self.offers = []

    def offer(self, step, distance, protocol):
        self.offers.append((step, distance, protocol))


def test_metrics_lines(tmp_path):
    directory = RunDirectory(str(tmp_path), preset("tiny"))
    summaries = Summaries(str(tmp_path))
    model, evaluator, best = _Model(), _Evaluator(), _Best()
    sampler = _sampler(model)
    schedule = {"first_step": 0, "total_steps": 4, "period": 3}
    _run(MetricsWriter(directory, summaries, sampler, evaluator, best, images_per_step=8, **schedule), 4, model)
    score = float(sampler.images(7, seed=5).mean())
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [
        {
            **{"step": step, "kimg": step * 8 / 1000, "weights": "ema", "source": "training"},
            **evaluator.protocol.as_dict(),
            **{"score": score, "undefined": None, "fractions": [0.5, 0.5]},
        }
        for step in (0, 3, 4)
    ]
    assert best.offers == [(step, score, evaluator.protocol) for step in (0, 3, 4)]
    events = [(step, tag, float(value)) for step, tag, value in written_events(tmp_path)]
    assert events == [(step, "score", pytest.approx(score)) for step in (0, 3, 4)]


@pytest.mark.parametrize(
    "first_step, is_missing, expected",
    [(6, True, [6, 9, 10]), (6, False, [9, 10]), (7, True, [9, 10]), (0, True, [3, 6, 9, 10])],
)
def test_what_a_stopped_run_did_not_do_at_its_step_is_done_first(first_step, is_missing, expected):
    callback = _Recorder(first_step=first_step, total_steps=10, period=3)
    callback.is_missing = lambda step: is_missing and step == first_step
    _run(callback, 10 - first_step)
    assert callback.steps == expected


def test_samples_and_scores_know_what_is_missing(tmp_path):
    directory = RunDirectory(str(tmp_path), preset("tiny"))
    summaries = Summaries(str(tmp_path))
    model = _Model()
    schedule = {"first_step": 0, "total_steps": 4, "period": 3}
    callbacks = [
        SampleWriter(directory, summaries, _sampler(model), 3, **schedule),
        MetricsWriter(directory, summaries, _sampler(model), _Evaluator(), _Best(), images_per_step=8, **schedule),
    ]
    for callback in callbacks:
        assert callback.is_missing(0) and callback.is_missing(3)
        _run(callback, 4, model)
        assert [callback.is_missing(step) for step in range(5)] == [False, True, True, False, False]
    # A line that tools/evaluate.py wrote is none of the training's.
    directory.append_metrics({"step": 2, "source": "evaluate"})
    assert callbacks[1].is_missing(2)


def test_a_step_0_of_its_own_acts_with_its_number_and_without_metrics():
    calls = []
    for first_step in (0, 6):
        callback = _Recorder(first_step=first_step, total_steps=10, period=3)
        callback.acts_before_training = True
        callback.is_missing = lambda step: True
        callback.at_step = lambda step, logs: calls.append((step, logs))
        callback.on_train_begin()
    assert calls == [(0, {}), (6, {})]


def test_a_checkpoint_that_cannot_be_written_ends_the_training_at_its_last_step_alone(caplog):
    steps = []

    class Full:
        def save(self, step):
            steps.append(step)
            raise UserError(f"no room for step {step}")

    writer = CheckpointWriter(Full(), first_step=0, total_steps=5, period=2)
    with caplog.at_level("WARNING", logger="absl"), pytest.raises(UserError, match="no room for step 5"):
        _run(writer, 5)
    assert steps == [2, 4, 5]
    assert [record.getMessage() for record in caplog.records] == [
        f"no room for step {step}: training continues, and the next checkpoint tries again" for step in (2, 4)
    ]


@pytest.mark.parametrize(
    "error, reason",
    [
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (UserError("cannot write the checkpoint"), "cannot write the checkpoint"),
        (tf.errors.ResourceExhaustedError(None, None, "disk full\nand more"), "disk full"),
    ],
)
def test_what_a_run_can_do_without_is_a_warning(caplog, error, reason):
    with caplog.at_level("WARNING", logger="absl"), written_if_possible("the file"):
        raise error
    assert [record.getMessage() for record in caplog.records] == [
        f"cannot write the file ({reason}): training continues"
    ]


def test_another_error_where_something_is_written_is_none_of_the_disk():
    with pytest.raises(ZeroDivisionError), written_if_possible("the file"):
        _ = 1 / 0


def test_progress_lines_in_a_log_count_from_the_resumed_step(caplog):
    callback = ProgressBar(first_step=3, total_steps=5)
    with caplog.at_level("INFO", logger="absl"):
        _run(callback, 2)
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0].startswith("steps: 3/5 (60 %)") and "tracing and compiling the training step" in messages[0]
    assert messages[1].startswith("steps: 4/5 (80 %)")
    assert messages[-1].startswith("steps: 5/5 (100 %)")
    assert "d_loss 1.500, g_loss 0.500" in messages[-1]


def test_progress_bar_counts_every_step_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stderr", Terminal())
    callback = ProgressBar(first_step=3, total_steps=6)
    _run(callback, 3)
    shown = sys.stderr.getvalue().split("\r")
    first = next(line for line in shown if "tracing" in line)
    assert "3/6" in first and "tracing and compiling the training step" in first
    last = shown[-1]
    assert "6/6" in last and "tracing" not in last and "d_loss 1.500, g_loss 0.500" in last
    callback.close()  # once more, as after an error


def test_progress_bar_that_never_began_can_be_closed():
    ProgressBar(first_step=0, total_steps=2).close()
