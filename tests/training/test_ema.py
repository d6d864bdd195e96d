"""The moving average against its closed formula."""

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.layers.normalization import BatchNorm
from vitgan_tf.training.ema import ema_beta, initial_average, update_ema


@pytest.mark.parametrize(
    "images_seen, rampup, expected",
    [
        (10_000_000, 0.05, 0.5 ** (64 / 10_000)),  # the full half-life of 10 kimg
        (10_000, 0.05, 0.5 ** (64 / 500)),  # a twentieth of the images seen
        (10_000, 0.0, 0.5 ** (64 / 10_000)),  # no ramp-up
        (0, 0.05, 0.0),  # nothing seen: a copy
    ],
)
def test_beta_halves_the_weight_over_the_half_life(images_seen, rampup, expected):
    beta = ema_beta(tf.constant(images_seen, tf.int64), 64, 10.0, rampup)
    np.testing.assert_allclose(beta.numpy(), expected, rtol=1e-5)


def test_half_life_zero_is_a_copy():
    assert ema_beta(tf.constant(10**6, tf.int64), 64, 0.0, 0.05).numpy() == 0.0


class _Generator(tf.keras.Model):
    latent_dim = 3

    def build(self, input_shape):
        def draw(shape, dtype=None):
            self.draws.append(shape)
            return tf.random.normal(shape, dtype=dtype)

        self.kernel = self.add_weight(name="kernel", shape=(3, 2), initializer=draw)
        self.noise = self.add_weight(name="noise", shape=(4,), initializer=draw, trainable=False)
        self.built = True

    def get_config(self):
        return {"name": self.name}


def test_the_average_starts_with_the_weights_and_draws_none_of_its_own(monkeypatch):
    draws = []
    monkeypatch.setattr(_Generator, "draws", draws, raising=False)
    generator = _Generator()
    generator.build((None, 3))
    average = initial_average(generator)
    assert draws == [(3, 2), (4,)]
    for mean, weight in zip((average.kernel, average.noise), (generator.kernel, generator.noise)):
        assert mean is not weight and np.any(weight.numpy())
        np.testing.assert_array_equal(mean.numpy(), weight.numpy())


class _Counter(tf.keras.layers.Layer):
    def build(self, input_shape):
        self.count = self.add_weight(name="count", shape=(2,), trainable=False)

    def call(self, inputs):
        return inputs


def _network():
    network = tf.keras.Sequential([tf.keras.layers.Dense(3), BatchNorm(), _Counter()])
    network.build((None, 2, 2, 4))
    return network


def _averaged(network):
    """Weights, and statistics of the batch norm."""
    return [*network.trainable_variables, *network.layers[1].non_trainable_variables]


def test_average_equals_the_closed_formula_and_copies_other_state():
    """After n updates: beta^n * first + (1 - beta) * sum_k beta^(n-k) * weights_k, in float64."""
    network, average = _network(), _network()
    beta, history = 0.9, []
    first = [variable.numpy().astype(np.float64) for variable in _averaged(average)]
    for _ in range(7):
        for variable in network.variables:
            variable.assign(tf.random.normal(variable.shape))
        history.append([variable.numpy().astype(np.float64) for variable in _averaged(network)])
        update_ema(average, network, tf.constant(beta))
    assert len(first) == 4
    for i, variable in enumerate(_averaged(average)):
        expected = beta**7 * first[i] + (1 - beta) * sum(beta ** (6 - k) * history[k][i] for k in range(7))
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(average.layers[2].count.numpy(), network.layers[2].count.numpy())
