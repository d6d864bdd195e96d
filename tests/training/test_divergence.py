"""Losses and gradients that are not finite end a run, are left out, or send it back; and networks that gave up."""

import json
import math
import types

import numpy as np
import pytest
import tensorflow as tf
from support import small
from support.events import events

from vitgan_tf.config import override
from vitgan_tf.data.pipeline import training_dataset
from vitgan_tf.errors import DivergedError
from vitgan_tf.presets import preset
from vitgan_tf.training import run
from vitgan_tf.training.build import build_gan
from vitgan_tf.training.callbacks.guards import CollapseWatch, SkipWatch, StopOnDivergence
from vitgan_tf.training.callbacks.writers import MetricsWriter
from vitgan_tf.training.diagnostics import divergence_report, spectral_layers
from vitgan_tf.training.metrics import StepMetrics
from vitgan_tf.training.optimizer import FusedAdam
from vitgan_tf.training.rollback import with_rollbacks
from vitgan_tf.training.run import run_experiment
from vitgan_tf.training.summaries import Summaries
from vitgan_tf.training.update import Measure, merged, only_finite

RUN = {
    **small.FIELDS,
    "train.xla": "off",
    "train.total_kimg": 0.16,  # 20 steps, a checkpoint every 5
    "log.samples_every_kimg": 0.16,
    "log.eval_every_kimg": 0.16,
    "log.diagnostics_every_kimg": 0.0,
}


@pytest.fixture(autouse=True)
def _no_scores(monkeypatch):
    """Evaluations take longer than these trainings."""
    monkeypatch.setattr(run, "_evaluator", lambda *_: types.SimpleNamespace())
    monkeypatch.setattr(MetricsWriter, "at_step", lambda *_: None)


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
@pytest.mark.parametrize("is_first", [True, False])
def test_adam_leaves_everything_as_it_was_where_one_gradient_is_not_finite(bad, is_first):
    """3e38 is finite, but the norm of the gradients is not."""
    gradients = [([0.5, -1.0], 2.0), ([bad, 0.1], 1.0) if is_first else ([0.4, 0.1], bad), ([0.3, 0.2], -0.5)]
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_step_is_left_out_where_one_of_its_two_updates_is():
    gan = build_gan(override(preset("tiny"), {"train.on_nan": "skip"}))
    names = gan.metrics[0].names
    counts = []
    for weights in ((1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (1.0, 1.0), (1.0, 0.0)):
        given = {name: (2.0, weight) for name, weight in zip(("d_gradient_norm", "g_gradient_norm"), weights)}
        measures = {**dict.fromkeys(names, (2.0, 1.0)), "g_loss": (math.inf, 1.0), **given}
        found = only_finite({name: Measure(*map(tf.constant, pair)) for name, pair in measures.items()})
        gan._count_skipped(found)
        values = {name: (float(value), float(weight)) for name, (value, weight, _) in found.items()}
        assert values == {**measures, "g_loss": (0.0, 0.0)}
        counts.append(int(gan.skipped_in_a_row))
    assert counts == [0, 1, 2, 3, 0, 1]


def test_measures_of_several_updates_are_weighted_means_and_the_largest():
    pairs = [(1.0, 1.0), (7.0, 0.0), (4.0, 0.5)]
    found = merged([{"r1": Measure(tf.constant(value), tf.constant(weight))} for value, weight in pairs])["r1"]
    assert [float(part) for part in found] == [2.0, 1.5, 7.0]
    metrics = StepMetrics(["r1"], maxima=["r1"])
    metrics.update({"r1": Measure(tf.constant(8.0), tf.constant(0.5))})
    result = metrics.update({"r1": found})
    assert {name: float(value) for name, value in result.items()} == {"r1": (1.0 + 2.0 + 4.0) / 2, "r1_max": 8.0}


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

    monkeypatch.setattr(run, "training_dataset", dataset)
    return attempts


def _checkpoint(path):
    latest = tf.train.latest_checkpoint(str(path / "checkpoints"))
    reader = tf.train.load_checkpoint(latest)
    values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    numbers = [value for value in values.values() if isinstance(value, np.ndarray) and value.dtype == np.float32]
    assert len(numbers) > 100 and all(np.isfinite(value).all() for value in numbers)
    attempt = next(value for name, value in values.items() if name.startswith("attempt/"))
    return int(latest.rsplit("-", 1)[1]), int(attempt)


@pytest.mark.slow
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


def test_the_report_names_what_is_not_finite_and_puts_the_largest_first():
    gan = build_gan(preset("tiny"))
    weights, layers = gan.discriminator.trainable_variables, spectral_layers(gan.discriminator)
    expand = layers["discriminator/block_0/mlp/expand"]
    place = next(index for index, weight in enumerate(weights) if weight is expand.kernel)
    norms = np.arange(len(weights), dtype=np.float32) + 0.5
    norms[[place + 1, place + 3]] = np.nan, np.inf
    gan.gradient_norms["d_gradient_norm"].assign(norms)
    gan.gradient_norms["g_gradient_norm"].assign(tf.fill([len(gan.generator.trainable_variables)], 0.25))
    kernel = expand.kernel.numpy()
    kernel[1, 2] = np.inf
    expand.kernel.assign(kernel)
    contract = layers["discriminator/block_0/mlp/contract"]
    contract.kernel.assign(1e25 * contract.kernel)  # its square overflows in a power iteration
    contract.u.assign(contract.u * np.nan)
    report = divergence_report(gan, 7, {"d_loss": 1.5, "g_loss": -math.inf, "d_gradient_norm": math.nan})
    assert report["step"] == 7 and report["not_finite"] == ["g_loss", "d_gradient_norm"]
    assert report["metrics"] == {"d_loss": 1.5, "g_loss": "-inf", "d_gradient_norm": "nan"}
    found = report["discriminator"]
    values = list(found["gradient_norms"].values())
    assert set(values[:2]) == {"nan", "inf"}
    assert values[2:] == sorted(norms[np.isfinite(norms)].tolist(), reverse=True)
    assert found["gradient_norms"]["discriminator/block_0/mlp/expand/kernel"] == place + 0.5
    assert found["weights_not_finite"] == ["discriminator/block_0/mlp/expand/kernel"]
    sigmas = found["spectral_norms"]
    assert sigmas.pop("discriminator/block_0/mlp/expand") is None
    for path, sigma in sigmas.items():
        factor = 1e25 if layers[path] is contract else 1.0
        assert sigma == pytest.approx(factor * float(layers[path].initial_sigma), rel=1e-4)
    generator = report["generator"]
    assert set(generator["gradient_norms"].values()) == {0.25} and generator["weights_not_finite"] == []
    assert all(name.startswith("generator/") for name in generator["gradient_norms"])
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_every_kind_of_number_that_is_not_finite_ends_a_run(value):
    watch = StopOnDivergence(first_step=0, total_steps=9, report=lambda step, logs: f"; {step} {sorted(logs)}")
    watch.on_train_batch_end(0, {"d_loss": 1e30, "g_loss": -1e30})
    with pytest.raises(DivergedError, match=r"diverged: g_loss not finite at step 2;.*; 2 \['d_loss', 'g_loss'\]$"):
        watch.on_train_batch_end(1, {"d_loss": 1.0, "g_loss": value})


def test_updates_that_are_left_out_are_told_of_once_in_a_row(caplog):
    watch = SkipWatch(first_step=0, total_steps=1000, report=lambda step, logs: f"; {logs['d_loss']}")
    model = tf.keras.Model()
    model.skipped_in_a_row = tf.Variable(0)
    watch.set_model(model)
    counts = [0, 1, 2, 0, 0, *range(1, 101)]
    with caplog.at_level("WARNING", logger="absl"), pytest.raises(DivergedError) as caught:
        for batch, count in enumerate(counts):
            model.skipped_in_a_row.assign(count)
            watch.on_train_batch_end(batch, {"d_loss": 1.5, "d_gradient_norm": math.nan})
    assert "no update was finite in the 100 steps up to 105" in str(caught.value)
    assert str(caught.value).endswith("; 1.5")
    assert [record.getMessage() for record in caplog.records] == [
        f"step {step}: skipped an update that was not finite; 1.5" for step in (2, 6)
    ]


def test_updates_left_out_in_one_execution_of_several_steps_are_told_of(caplog):
    watch = SkipWatch(first_step=0, total_steps=1000)
    model = tf.keras.Model()
    model.skipped_in_a_row = tf.Variable(0)
    watch.set_model(model)
    with caplog.at_level("WARNING", logger="absl"):
        for batch, count in ((9, 0), (19, 4), (29, 14), (39, 0), (49, 10)):
            model.skipped_in_a_row.assign(count)
            watch.on_train_batch_end(batch, {})
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["step 20", "step 50"]


@pytest.mark.slow
def test_a_run_can_leave_such_steps_out(tmp_path, monkeypatch, caplog):
    _bad_images(monkeypatch, [7, 13, 14])
    with caplog.at_level("WARNING", logger="absl"):
        run_experiment(override(preset("tiny"), {**RUN, "train.on_nan": "skip"}), str(tmp_path))
    assert _checkpoint(tmp_path) == (20, 0)
    warnings = [record.getMessage() for record in caplog.records if "skipped an update" in record.getMessage()]
    assert [line.split(":")[0] for line in warnings] == ["step 7", "step 13"]
    assert (tmp_path / "saved_model").exists()


@pytest.mark.slow
def test_after_many_such_steps_in_a_row_the_run_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(SkipWatch, "MAX_SKIPPED", 6)
    _bad_images(monkeypatch, range(8, 100))
    with pytest.raises(DivergedError, match="no update was finite in the 6 steps up to 13"):
        run_experiment(override(preset("tiny"), {**RUN, "train.on_nan": "skip"}), str(tmp_path))


@pytest.mark.slow
def test_a_run_can_go_back_and_on_with_other_random_numbers(tmp_path, monkeypatch, caplog):
    attempts, agreed = _bad_images(monkeypatch, [13], times=2), []
    monkeypatch.setattr(run, "agree_on_step", lambda strategy, step: agreed.append(step))
    config = override(preset("tiny"), {**RUN, "train.on_nan": "rollback"})
    with caplog.at_level("WARNING", logger="absl"):
        run_experiment(config, str(tmp_path / "back"))
    assert attempts == [0, 10, 10]
    # Of several processes, all go back to the same step.
    assert agreed == [0, 10, 10, 20, 20]
    assert "Resuming from step 10 with new random numbers" in caplog.text
    assert _checkpoint(tmp_path / "back") == (20, 2)
    monkeypatch.setattr(run, "training_dataset", training_dataset)
    run_experiment(config, str(tmp_path / "straight"))
    readers = [
        tf.train.load_checkpoint(tf.train.latest_checkpoint(str(tmp_path / run / "checkpoints")))
        for run in ("back", "straight")
    ]
    name = next(n for n in readers[0].get_variable_to_shape_map() if n.startswith("generator/") and "kernel" in n)
    assert (readers[0].get_tensor(name) != readers[1].get_tensor(name)).any()


class _Checkpoints:
    """Each time, the next of these (step, attempt it was saved in) is the newest; None for none."""

    def __init__(self, gan, newest):
        self._gan = gan
        self.newest = list(newest)

    def restore_newest(self):
        saved = self.newest.pop(0)
        if saved is None:
            return None
        step, attempt = saved
        self._gan.attempt.assign(attempt)
        return step


def _attempts(on_nan, newest, good=10**9):
    """(first step, attempt) of each training of a run of which the good-th ends well; the checkpoints left over."""
    config = override(preset("tiny"), {"train.on_nan": on_nan})
    gan = types.SimpleNamespace(config=config, attempt=tf.Variable(0))
    checkpoints, attempts = _Checkpoints(gan, newest), []

    def fit(first_step):
        attempts.append((first_step, int(gan.attempt)))
        if len(attempts) < good:
            raise DivergedError(f"in attempt {len(attempts)}")

    try:
        with_rollbacks(gan, checkpoints.restore_newest, fit, 2)
    except DivergedError as error:
        assert str(error) == f"in attempt {len(attempts)}" and good > len(attempts)
    else:
        assert good == len(attempts)
    return attempts, checkpoints.newest


def test_a_run_goes_back_three_times_from_each_checkpoint_and_never_draws_the_same_again():
    newest = [(5, 0)] * 3 + [(10, 3)] * 4
    expected = [(2, 0), (5, 1), (5, 2), (5, 3), (10, 4), (10, 5), (10, 6)]
    assert _attempts("rollback", newest) == (expected, [])
    assert _attempts("rollback", newest, good=6) == (expected[:6], newest[5:])
    assert _attempts("rollback", [None]) == ([(2, 0)], [])
    for on_nan in ("stop", "skip"):
        assert _attempts(on_nan, newest) == ([(2, 0)], newest)


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


@pytest.mark.parametrize("deviation, loss, expected", [(0.7, 0.9e-3, 2), (1.5, 1.1e-3, 0)])
def test_the_limits_of_giving_up(tmp_path, caplog, deviation, loss, expected):
    """One image that is not flat, and around it noise: it is the images that differ, not their pixels."""

    class Sampler:
        def images(self, num_images, seed):
            noise = np.random.RandomState(seed).normal(size=[num_images, 40, 40, 1])
            return (np.linspace(20, 230, 1600).reshape(40, 40, 1) + deviation * noise).astype(np.float32)

    watch = CollapseWatch(Summaries(str(tmp_path)), Sampler(), 0, first_step=0, total_steps=100)
    with caplog.at_level("WARNING", logger="absl"):
        for batch in range(6):
            watch.on_train_batch_end(batch, {"d_loss": loss, "real_logits": 9.0, "fake_logits": -9.0})
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["step 5"] * expected


def test_a_saturated_discriminator_is_told_of(tmp_path, caplog):
    warnings = _watched(tmp_path, [(50.0, 1e-5)] * 4 + [(50.0, 1.0)] + [(50.0, 1e-5)] * 5, caplog)
    assert len(warnings) == 1 and warnings[0].startswith("step 10: for 5 periods, the discriminator is saturated")
    assert "mean logits 9 of real and -9 of generated images" in warnings[0]
