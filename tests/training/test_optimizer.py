"""The fused update against Keras' own Adam, and against the formula."""

import numpy as np
import pytest
import tensorflow as tf
from keras.src.optimizers import optimizer as keras_optimizer
from support import classifier, small

from vitgan_tf.config import override
from vitgan_tf.presets import preset
from vitgan_tf.training import plan
from vitgan_tf.training.optimizer import FusedAdam, LinearSchedule, build_optimizer
from vitgan_tf.training.plan import execution_plan
from vitgan_tf.training.run import run_experiment

SETTINGS = [
    {"learning_rate": 0.002, "beta_1": 0.0, "beta_2": 0.99, "epsilon": 1e-8},
    {"learning_rate": 0.1, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-3},
]


def _gradients(step):
    random = np.random.RandomState(step)
    return [random.randn(3, 4).astype(np.float32), 1e-4 * random.randn(5).astype(np.float32)]


def _trained(optimizer, steps, compiled):
    variables = [tf.Variable(tf.ones([3, 4])), tf.Variable(tf.zeros([5]))]
    optimizer.build(variables)

    @tf.function(jit_compile=compiled)
    def apply(*gradients):
        optimizer.apply_gradients(zip(gradients, variables))

    for step in range(steps):
        apply(*_gradients(step))
    return [variable.numpy() for variable in variables + optimizer.variables]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("settings", SETTINGS)
def test_weights_and_state_equal_those_of_keras(settings, compiled):
    results = _trained(FusedAdam(**settings), 7, compiled), _trained(tf.keras.optimizers.Adam(**settings), 7, False)
    assert len(results[0]) == len(results[1]) == 2 + 5  # weights; iteration, and m and v of each
    for fused, keras in zip(*results):
        np.testing.assert_allclose(fused, keras, rtol=2e-5, atol=1e-9)


@pytest.mark.parametrize("settings", SETTINGS)
def test_weights_equal_the_formula_in_float64(settings):
    b1, b2 = settings["beta_1"], settings["beta_2"]
    x, m, v = np.ones((3, 4)), 0.0, 0.0
    for t in range(1, 8):
        g = _gradients(t - 1)[0].astype(np.float64)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        rate = settings["learning_rate"] * np.sqrt(1 - b2**t) / (1 - b1**t)
        x -= rate * m / (np.sqrt(v) + settings["epsilon"])
    np.testing.assert_allclose(_trained(FusedAdam(**settings), 7, False)[0], x, rtol=1e-4)


def test_what_all_variables_share_is_computed_once_in_a_step():
    """Two updates in one graph: each has its own powers of the betas, of the step it is at."""
    variables = [tf.Variable(tf.ones([4]), name=f"x{i}") for i in range(5)]
    optimizer = FusedAdam(0.01, beta_1=0.9, beta_2=0.99)
    optimizer.build(variables)

    def update_twice():
        for _ in range(2):
            optimizer.apply_gradients([(tf.ones([4]), variable) for variable in variables])

    graph = tf.function(update_twice).get_concrete_function().graph
    assert sum(operation.type == "Pow" for operation in graph.get_operations()) == 2 * 2
    tf.function(update_twice)()
    # A constant gradient: Adam moves by the learning rate in each step, once its corrections are those of the step.
    for variable in variables:
        np.testing.assert_allclose(variable.numpy(), 1 - 2 * 0.01, rtol=1e-5)


def _report_a_gpu(monkeypatch):
    reported = tf.config.list_physical_devices
    for module in (tf.config, keras_optimizer.tf.config):
        with_gpu = lambda kind=None: ["a GPU"] if kind == "GPU" else reported(kind)  # noqa: E731
        monkeypatch.setattr(module, "list_physical_devices", with_gpu)


def test_no_update_is_an_xla_function_of_its_own_where_there_is_a_gpu(monkeypatch):
    """Keras makes one of each variable's update there, whatever the configuration says."""
    _report_a_gpu(monkeypatch)
    assert tf.keras.optimizers.Adam().jit_compile
    train = preset("cifar10").train
    assert not build_optimizer(0.002, 8, train).jit_compile
    copy = FusedAdam.from_config(build_optimizer(0.002, 8, train).get_config())
    assert not copy.jit_compile
    assert not build_optimizer(0.002, 8, train, scales_loss=True).inner_optimizer.jit_compile


@pytest.mark.slow
def test_skipping_trains_with_several_steps_per_execution_on_a_gpu(tmp_path, monkeypatch):
    """By a GPU that TensorFlow only says to have: XLA and microbatches are those of one. TF32 is on in steps only."""
    _report_a_gpu(monkeypatch)
    monkeypatch.setattr(plan, "missing_tools", lambda: ["ptxas"])
    fields = {
        **small.FIELDS,
        "train.on_nan": "skip",
        "train.steps_per_execution": 3,
        "train.total_kimg": 0.048,
        "train.tf32": True,
    }
    config = override(preset("tiny"), {**fields, "log.diagnostics_every_kimg": 0.0})
    assert execution_plan(config).xla == "off"
    modes = []

    def note(*_):
        modes.append(tf.config.experimental.tensor_float_32_execution_enabled())

    of_steps = tf.keras.callbacks.LambdaCallback(on_train_batch_begin=note, on_train_batch_end=note)
    run_experiment(config, str(classifier.give(tmp_path)), callbacks=[of_steps])
    assert modes == [True, False] * 2
    assert not tf.config.experimental.tensor_float_32_execution_enabled()
    assert tf.train.latest_checkpoint(str(tmp_path / "checkpoints")).endswith("ckpt-6")


def test_configured_as_in_the_paper():
    config = build_optimizer(0.002, 128, preset("cifar10").train).get_config()
    assert (config["beta_1"], config["beta_2"], config["learning_rate"]) == (0.0, 0.99, pytest.approx(0.002))


@pytest.mark.parametrize("warmup, decay", [(4, 0), (0, 6), (3, 5), (8, 8), (0.5, 2.5)])
def test_learning_rate_rises_and_falls_linearly(warmup, decay):
    schedule, total = LinearSchedule(0.002, 10, warmup, decay), 10
    copy = LinearSchedule.from_config(schedule.get_config())
    for step in range(total + 2):
        factor = 1.0
        if warmup:
            factor = min(factor, (step + 1) / warmup)
        if decay:
            factor = min(factor, max(total - step, 0) / decay)
        for each in (schedule, copy):
            np.testing.assert_allclose(each(tf.constant(step, tf.int64)), 0.002 * factor, rtol=1e-6)


@pytest.mark.parametrize("scales_loss", [False, True])
def test_each_update_has_the_rate_of_its_step(scales_loss):
    """With beta1 = 0 and constant gradients, Adam moves a weight by the rate itself."""
    fields = {
        "train.warmup_kimg": 0.016,
        "train.decay_fraction": 0.6,
        "train.total_kimg": 0.04,
        "train.batch_size": 8,
    }
    optimizer = build_optimizer(0.01, 8, override(preset("tiny"), fields).train, scales_loss)
    weight, moves = tf.Variable([1.0]), []
    optimizer.build([weight])
    for _ in range(6):
        before = weight.numpy()[0]
        gradient = optimizer.get_scaled_loss(tf.constant([2.0])) if scales_loss else tf.constant([2.0])
        gradients = optimizer.get_unscaled_gradients([gradient]) if scales_loss else [gradient]
        optimizer.apply_gradients(zip(gradients, [weight]))
        moves.append(before - weight.numpy()[0])
    np.testing.assert_allclose(moves, 0.01 * np.array([1 / 2, 1, 1, 2 / 3, 1 / 3, 0]), atol=1e-6)
