"""Losses and gradients that are not finite end a run, are left out, or send it back; and networks that gave up."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf
from events import events

from vitgan_tf.config import override
from vitgan_tf.data.pipeline import training_dataset
from vitgan_tf.errors import DivergedError
from vitgan_tf.presets import preset
from vitgan_tf.training import experiment
from vitgan_tf.training.callbacks import CollapseWatch, SkipWatch
from vitgan_tf.training.experiment import build_gan, run_experiment
from vitgan_tf.training.optimizer import FusedAdam
from vitgan_tf.training.summaries import Summaries

RUN = {
    "train.total_kimg": 0.16,  # 20 steps, a checkpoint every 5
    "log.samples_every_kimg": 0.16,
    "log.eval_every_kimg": 0.16,
    "log.diagnostics_every_kimg": 0.0,
}


@pytest.fixture(autouse=True)
def _no_scores(monkeypatch):
    """Evaluations take longer than these trainings."""
    monkeypatch.setattr(experiment, "_evaluator", lambda *_: None)


def _adam_after(gradients, **options):
    variables = [tf.Variable([1.0, 2.0]), tf.Variable([[3.0]])]
    optimizer = FusedAdam(0.1, beta_1=0.5, beta_2=0.9, **options)
    optimizer.build(variables)
    apply = tf.function(lambda *values: optimizer.apply_gradients(zip(values, variables)))
    history = []
    for first, second in gradients:
        apply(tf.constant(first), tf.constant([[second]]))
        history.append([variable.numpy() for variable in [*variables, *optimizer.variables[1:]]])
    return history


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 3e38])
def test_adam_leaves_everything_as_it_was_where_one_gradient_is_not_finite(bad):
    """3e38 is finite, but the norm of the gradients is not."""
    gradients = [([0.5, -1.0], 2.0), ([bad, 0.1], 1.0), ([0.3, 0.2], -0.5)]
    first, second, third = _adam_after(gradients, skips_non_finite=True)
    for before, after in zip(first, second):
        np.testing.assert_array_equal(before, after)
    assert all(np.isfinite(value).all() for value in third)
    assert all((before != after).any() for before, after in zip(second, third))
    # By the formula, in which the step that was left out counts in t.
    x, m, v = np.array([1.0, 2.0]), 0.0, 0.0
    for t, gradient in ((1, [0.5, -1.0]), (3, [0.3, 0.2])):
        m, v = 0.5 * m + 0.5 * np.array(gradient), 0.9 * v + 0.1 * np.square(gradient)
        x = x - 0.1 * math.sqrt(1 - 0.9**t) / (1 - 0.5**t) * m / (np.sqrt(v) + 1e-7)
    np.testing.assert_allclose(third[0], x, rtol=1e-5)


def test_adam_that_may_skip_is_adam_where_all_is_finite():
    gradients = [([0.5, -1.0], 2.0), ([0.2, 0.1], 1.0), ([0.3, 0.2], -1.0)]
    for skipping, plain in zip(_adam_after(gradients, skips_non_finite=True), _adam_after(gradients)):
        for value, expected in zip(skipping, plain):
            np.testing.assert_array_equal(value, expected)


def _weights(network):
    return [weight.numpy() for weight in network.trainable_variables]


def test_a_step_leaves_out_the_update_that_is_not_finite():
    config = override(preset("tiny"), {"train.on_nan": "skip", "loss.lecam_lambda": 0.1})
    gan = build_gan(config)
    images = np.random.RandomState(0).uniform(-1, 1, [8, 8, 8, 1]).astype(np.float32)
    bad = images.copy()
    bad[3, 2, 1] = np.nan
    batches = [images, bad, bad, images]
    step, metrics, before, skipped = gan.make_train_function(), [], [], []
    iterator = iter(tf.data.Dataset.from_tensor_slices(batches))
    for _ in batches:
        before.append((_weights(gan.discriminator), _weights(gan.generator)))
        metrics.append({name: float(value) for name, value in step(iterator).items()})
        skipped.append(int(gan.skipped_in_a_row))
        if len(metrics) == 2:
            norms = gan.gradient_norms["d_gradient_norm"].numpy()
            assert not np.isfinite(norms).any() and len(norms) == len(gan.discriminator.trainable_variables)
    assert skipped == [0, 1, 2, 0]
    for (first, _), (second, _) in [before[1:3], before[2:4]]:  # the discriminator, over the two bad steps
        for one, other in zip(first, second):
            np.testing.assert_array_equal(one, other)
    for (_, first), (_, second) in zip(before, before[1:]):  # the generator sees no real image
        assert any((one != other).any() for one, other in zip(first, second))
    # Means over the steps that count.
    assert all(math.isfinite(value) for values in metrics for value in values.values())
    assert metrics[2]["d_loss"] == metrics[0]["d_loss"] != metrics[3]["d_loss"]
    assert metrics[2]["g_loss"] != metrics[0]["g_loss"]
    assert math.isfinite(float(gan.real_logit_average)) and gan.step.numpy() == 4


def _bad_images(monkeypatch, steps, times=10**9):
    """The real images of these steps are not numbers, in the first so many attempts."""
    attempts = []

    def dataset(images, batch_size, seed, first_step, *arguments, **options):
        attempts.append(first_step)
        batches = training_dataset(images, batch_size, seed, first_step, *arguments, **options)
        if len(attempts) > times:
            return batches
        bad = tf.constant([step - 1 - first_step for step in steps], tf.int64)
        return batches.enumerate().map(
            lambda index, batch: tf.where(tf.reduce_any(index == bad), batch * np.nan, batch)
        )

    monkeypatch.setattr(experiment, "training_dataset", dataset)
    return attempts


def _checkpoint(path):
    latest = tf.train.latest_checkpoint(str(path / "checkpoints"))
    reader = tf.train.load_checkpoint(latest)
    values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    numbers = [value for value in values.values() if isinstance(value, np.ndarray) and value.dtype == np.float32]
    assert len(numbers) > 100 and all(np.isfinite(value).all() for value in numbers)
    attempt = next(value for name, value in values.items() if name.startswith("attempt/"))
    return int(latest.rsplit("-", 1)[1]), int(attempt)


def test_a_run_that_diverges_ends_and_says_where(tmp_path, monkeypatch):
    _bad_images(monkeypatch, [13])
    config = override(preset("tiny"), RUN)
    with pytest.raises(DivergedError, match=r"d_loss, .* not finite at step 13; .*divergence.json") as caught:
        run_experiment(config, str(tmp_path))
    assert caught.value.exit_code == 3
    assert _checkpoint(tmp_path) == (10, 0)
    assert not (tmp_path / "saved_model").exists()
    report = json.loads((tmp_path / "divergence.json").read_text())
    assert report["step"] == 13 and "d_loss" in report["not_finite"] and report["metrics"]["d_loss"] == "nan"
    discriminator, generator = report["discriminator"], report["generator"]
    assert set(discriminator["gradient_norms"].values()) == {"nan"}
    assert len(discriminator["weights_not_finite"]) == len(discriminator["gradient_norms"]) > 20
    # Of names like those in TensorBoard; no weight of a layer is a number any more.
    assert set(discriminator["spectral_norms"].values()) == {None}
    assert "discriminator/block_0/mlp/expand" in discriminator["spectral_norms"]
    assert generator["spectral_norms"] == {}  # no spectral norms there
    assert any("learning_rate" in line for line in report["advice"])


def test_a_run_can_leave_such_steps_out(tmp_path, monkeypatch, caplog):
    _bad_images(monkeypatch, [7, 13, 14])
    with caplog.at_level("WARNING", logger="absl"):
        run_experiment(override(preset("tiny"), {**RUN, "train.on_nan": "skip"}), str(tmp_path))
    assert _checkpoint(tmp_path) == (20, 0)
    warnings = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert [line.split(":")[0] for line in warnings] == ["step 7", "step 13"]
    assert (tmp_path / "saved_model").exists()


def test_after_many_such_steps_in_a_row_the_run_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(SkipWatch, "MAX_SKIPPED", 6)
    _bad_images(monkeypatch, range(8, 100))
    with pytest.raises(DivergedError, match="no update was finite in the 6 steps up to 13"):
        run_experiment(override(preset("tiny"), {**RUN, "train.on_nan": "skip"}), str(tmp_path))


def test_a_run_can_go_back_and_on_with_other_random_numbers(tmp_path, monkeypatch, caplog):
    attempts = _bad_images(monkeypatch, [13], times=2)
    config = override(preset("tiny"), {**RUN, "train.on_nan": "rollback"})
    with caplog.at_level("WARNING", logger="absl"):
        run_experiment(config, str(tmp_path / "back"))
    assert attempts == [0, 10, 10]
    assert "Going on from step 10 with other random numbers" in caplog.text
    assert _checkpoint(tmp_path / "back") == (20, 2)
    monkeypatch.setattr(experiment, "training_dataset", training_dataset)
    run_experiment(config, str(tmp_path / "straight"))
    readers = [
        tf.train.load_checkpoint(tf.train.latest_checkpoint(str(tmp_path / run / "checkpoints")))
        for run in ("back", "straight")
    ]
    name = next(n for n in readers[0].get_variable_to_shape_map() if n.startswith("generator/") and "kernel" in n)
    assert (readers[0].get_tensor(name) != readers[1].get_tensor(name)).any()


def test_a_run_does_not_go_back_for_ever(tmp_path, monkeypatch):
    attempts = _bad_images(monkeypatch, [13])
    with pytest.raises(DivergedError, match="not finite at step 13"):
        run_experiment(override(preset("tiny"), {**RUN, "train.on_nan": "rollback"}), str(tmp_path))
    assert attempts == [0, 10, 10, 10]


def test_without_a_checkpoint_there_is_nothing_to_go_back_to(tmp_path, monkeypatch):
    attempts = _bad_images(monkeypatch, [3])
    with pytest.raises(DivergedError, match="not finite at step 3"):
        run_experiment(override(preset("tiny"), {**RUN, "train.on_nan": "rollback"}), str(tmp_path))
    assert attempts == [0]


class _Sampler:
    def __init__(self):
        self.deviation = 50.0

    def images(self, num_images, seed):
        random = np.random.RandomState(seed)
        return (128 + self.deviation * random.randn(num_images, 4, 4, 1)).clip(0, 255).astype(np.uint8)


def _watched(path, values, caplog):
    """Warnings at each step of a watch that sees these deviations and discriminator losses."""
    sampler = _Sampler()
    watch = CollapseWatch(Summaries(str(path)), sampler, 0, first_step=0, total_steps=100)
    with caplog.at_level("WARNING", logger="absl"):
        for batch, (sampler.deviation, loss) in enumerate(values):
            watch.on_train_batch_end(batch, {"d_loss": loss, "real_logits": 9.0, "fake_logits": -9.0})
    return [record.getMessage() for record in caplog.records]


def test_a_generator_that_draws_one_image_is_told_of(tmp_path, caplog):
    warnings = _watched(tmp_path, [(50.0, 1.0), *[(0.0, 1.0)] * 7], caplog)
    assert len(warnings) == 1 and warnings[0].startswith("step 6: for 5 periods, the generator's images")
    found = events(tmp_path)
    deviations = [float(value) for _, tag, value in found if tag == "samples_deviation"]
    np.testing.assert_allclose(deviations, [50.0] + [0.0] * 7, rtol=0.1)
    assert [step for step, tag, _ in found if tag == "warnings"] == [6]


def test_a_saturated_discriminator_is_told_of(tmp_path, caplog):
    warnings = _watched(tmp_path, [(50.0, 1e-5)] * 4 + [(50.0, 1.0)] + [(50.0, 1e-5)] * 5, caplog)
    assert len(warnings) == 1 and warnings[0].startswith("step 10: for 5 periods, the discriminator is saturated")
    assert "mean logits 9 of real and -9 of generated images" in warnings[0]
