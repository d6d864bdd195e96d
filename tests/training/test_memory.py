"""Estimated memory of steps: small graphs by hand, tiny networks in NumPy, and the warning at the edge."""

import dataclasses

import numpy as np
import psutil
import pytest
import tensorflow as tf
from support import small

from vitgan_tf.config import override
from vitgan_tf.presets import preset
from vitgan_tf.training import memory
from vitgan_tf.training.build import build_gan
from vitgan_tf.training.callbacks import memory as check
from vitgan_tf.training.callbacks.memory import MemoryCheck
from vitgan_tf.training.memory import bytes_of_microbatch, fitting_microbatch, state_bytes, step_bytes

ROWS, WIDTH = 8, 16
ACTIVATION = 4 * ROWS * WIDTH


def _graph(function, *arguments):
    specs = arguments or (tf.TensorSpec([ROWS, WIDTH]),)
    return tf.function(function, autograph=False).get_concrete_function(*specs).graph


def test_a_chain_keeps_two_tensors_at_a_time():
    assert step_bytes(_graph(lambda x: tf.exp(tf.exp(tf.exp(x))))) == 2 * ACTIVATION
    assert step_bytes(_graph(lambda x: tf.exp(x))) == ACTIVATION


def test_what_is_read_later_is_kept():
    def function(x):
        first = tf.exp(x)
        return tf.exp(tf.exp(first)) + first

    assert step_bytes(_graph(function)) == 3 * ACTIVATION


def test_views_take_no_memory_and_keep_what_they_show():
    def function(x):
        first = tf.exp(x)
        view = tf.reshape(first, [WIDTH, ROWS])
        return tf.exp(tf.exp(x)) + tf.reshape(view, [ROWS, WIDTH])

    assert step_bytes(_graph(function)) == 3 * ACTIVATION


def test_unused_operations_and_resources_do_not_count():
    def function(x):
        tf.exp(tf.concat([x] * 9, axis=0))
        return tf.exp(x)

    assert step_bytes(_graph(function)) == ACTIVATION


@pytest.mark.parametrize("dtype, size", [(tf.bfloat16, 2), (tf.float64, 8)])
def test_bytes_follow_the_type(dtype, size):
    assert step_bytes(_graph(lambda x: tf.cast(x, dtype))) == size * ROWS * WIDTH


@pytest.mark.parametrize("depth", [3, 10])
def test_a_backward_pass_keeps_the_input_of_each_layer(depth):
    """tanh of a product: its gradient reads the result, which is the next product's operand too. Many rows."""
    weights = [tf.Variable(tf.eye(WIDTH)) for _ in range(depth)]

    def function(x):
        with tf.GradientTape() as tape:
            for weight in weights:
                x = tf.tanh(tf.matmul(x, weight))
            loss = tf.reduce_sum(x)
        return tape.gradient(loss, weights)

    rows = 10_000
    found = step_bytes(_graph(function, tf.TensorSpec([rows, WIDTH])))
    # All results, and two gradients of the last one.
    assert found == pytest.approx((depth + 2) * 4 * rows * WIDTH, rel=0.01)


def test_a_loop_takes_the_memory_of_one_round():
    def function(x):
        return tf.while_loop(lambda i, _: i < 5, lambda i, y: (i + 1, tf.exp(tf.exp(tf.exp(y)))), (0, x))[1]

    assert 2 * ACTIVATION <= step_bytes(_graph(function)) <= 4 * ACTIVATION + 64


def test_of_two_branches_the_larger_counts():
    def function(x):
        return tf.cond(x[0, 0] > 0, lambda: x, lambda: tf.reduce_sum(tf.exp(tf.concat([x] * 10, 0))) + x)

    assert 20 * ACTIVATION <= step_bytes(_graph(function)) <= 22 * ACTIVATION + 64


def test_xla_keeps_products_and_their_operands_alone():
    """The sum of four is an operand, the product and its sum are results; the rest is fused."""
    weight = tf.Variable(tf.eye(WIDTH))

    def function(x):
        product = tf.matmul(tf.add_n([tf.exp(x), tf.tanh(x), tf.sin(x), tf.cos(x)]), weight)
        return tf.reduce_sum(tf.exp(tf.exp(product)), axis=1)

    compiled = tf.function(function, autograph=False, jit_compile=True)
    assert step_bytes(_graph(function)) == 5 * ACTIVATION
    expected = 2 * ACTIVATION
    assert step_bytes(_graph(function), is_compiled=True) == expected
    assert expected <= step_bytes(_graph(lambda x: compiled(x))) <= expected + 4 * ROWS


@pytest.fixture(scope="module")
def gan():
    return build_gan(override(preset("tiny"), {**small.FIELDS, "train.xla": "off"}))


def test_the_state_is_all_variables_once(gan):
    """Weights, moments and moving average of the README's counts; the rest are vectors and scalars."""
    generator, discriminator = (network.count_params() for network in (gan.generator, gan.discriminator))
    arrays = [variable.numpy() for network in (gan.generator, gan.discriminator) for variable in network.weights]
    assert 4 * (generator + discriminator) == sum(array.nbytes for array in arrays)
    trained = [sum(np.prod(v.shape) for v in n.trainable_variables) for n in (gan.generator, gan.discriminator)]
    expected = 4 * (generator + discriminator + generator + 2 * sum(trained))
    assert expected <= state_bytes(gan) < expected + 4 * 200 + 4 * len(gan.trainable_variables)


@pytest.mark.slow
def test_memory_grows_with_microbatch_and_batch(gan):
    sizes = [bytes_of_microbatch(gan, size) for size in (2, 4, 8)]
    assert sizes == sorted(set(sizes))
    assert gan.plan.microbatch == 8
    larger = build_gan(override(gan.config, {"train.batch_size": 16, "train.microbatch": 8}))
    assert bytes_of_microbatch(larger, 8) > sizes[-1]


@pytest.mark.parametrize("group, sizes", [(1, [1, 2, 3, 4, 6, 8, 12]), (4, [4, 8, 12])])
def test_the_largest_part_that_fits_is_found(gan, monkeypatch, group, sizes):
    """Of 24 images: a tenth of a kilobyte each; parts divide the batch, and groups the parts."""
    changes = {"train.batch_size": 24, "stylegan2.group_size": group, "discriminator.architecture": "stylegan2"}
    monkeypatch.setattr(gan, "config", override(gan.config, changes))
    monkeypatch.setattr(gan, "plan", dataclasses.replace(gan.plan, microbatch=24))
    monkeypatch.setattr(memory, "bytes_of_microbatch", lambda _, size: 100 * size)
    for available in range(0, 3000, 50):
        fitting = [size for size in sizes if 100 * size <= available]
        assert fitting_microbatch(gan, available) == max(fitting, default=None)


@pytest.mark.slow
def test_the_warning_is_said_exactly_when_the_step_does_not_fit(monkeypatch, messages):
    gan = build_gan(override(preset("tiny"), {**small.FIELDS, "train.xla": "off"}))
    batches = tf.data.Dataset.from_tensors(tf.zeros([8, 8, 8, 1])).repeat()
    needed = bytes_of_microbatch(gan, 8)
    callback = MemoryCheck(batches)
    callback.set_model(gan)
    graph = gan.make_train_function().get_concrete_function(tf.data.IteratorSpec(batches.element_spec)).graph
    assert needed <= step_bytes(graph) < 1.01 * needed
    needed = step_bytes(graph)
    for available in (None, needed, needed + 1):
        monkeypatch.setattr(check, "bytes_for_steps", lambda _, available=available: available)
        callback.on_train_begin()
    assert messages == []
    monkeypatch.setattr(check, "bytes_for_steps", lambda _: needed - 1)
    gan.fit(batches, steps_per_epoch=1, verbose=0, callbacks=[callback])
    assert len(messages) == 1 and "--microbatch=4 fits, --precision=mixed_bfloat16 takes less" in messages[0]
    assert f"take about {needed / 1e9:.3g} GB, and the device has {(needed - 1) / 1e9:.3g} GB" in messages[0]
    assert gan.train_tf_function.experimental_get_tracing_count() == 1  # fit has not traced another


def test_advice_without_a_smaller_part(messages):
    check._warn(2_000_000_000, 1_000_000_000, None, is_float32=False)
    assert messages == [
        "the tensors of a step take about 2 GB, and the device has 1 GB for them: choose smaller networks, images or "
        "batches"
    ]


def test_a_generator_that_needs_the_whole_share_has_no_smaller_part():
    config = override(preset("tiny", "biggan"), {**small.FIELDS, "train.xla": "off"})
    assert fitting_microbatch(build_gan(config), 10**12) is None


@pytest.mark.parametrize("limit_gb, driver, total", [(0.0, 10**9, 10**9), (0.5, 10**9, 5 * 10**8), (0.0, None, None)])
def test_a_gpu_has_its_memory_less_the_variables(gan, monkeypatch, limit_gb, driver, total):
    assert 0 < memory.bytes_for_steps(gan) <= psutil.virtual_memory().total
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["gpu"])
    monkeypatch.setattr(memory, "gpu_bytes", lambda: driver)
    monkeypatch.setattr(gan, "config", override(gan.config, {"train.gpu_memory_gb": limit_gb}))
    expected = None if total is None else total - state_bytes(gan)
    assert memory.bytes_for_steps(gan) == expected


def test_a_tpu_is_not_asked(gan, monkeypatch):
    class TPU(tf.distribute.TPUStrategy):
        def __init__(self):
            pass

    monkeypatch.setattr(gan, "plan", dataclasses.replace(gan.plan, strategy=TPU()))
    assert memory.bytes_for_steps(gan) is None
