"""The generator's step with a path length penalty: against a naive one, and its average."""

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.config import override
from vitgan_tf.data.loading import load_images
from vitgan_tf.data.pipeline import training_dataset
from vitgan_tf.presets import preset
from vitgan_tf.randomness import DIRECTION, NOISE, BatchRandom
from vitgan_tf.training.build import build_gan
from vitgan_tf.training.objectives import GeneratorPass

pytestmark = pytest.mark.slow


def _gan(every=1, generator="stylegan2", **fields):
    changes = {"loss.path_length_weight": 3.0, "loss.path_length_every_steps": every, "loss.path_length_decay": 0.1}
    return build_gan(override(preset("tiny", generator=generator), {"train.xla": "off", **changes, **fields}))


def _batches(gan):
    return iter(training_dataset(load_images(gan.config.data), gan.config.train.batch_size, gan.config.train.seed))


def _path_length(gan, random):
    """Penalty and mean length of the step, each with its weight."""
    images = GeneratorPass(gan.generator, None, None, random, gan.path_length_average, gan.config.loss, gan.step)
    return images.path_length


def _naive_lengths(gan, latents, seed, num_images):
    """One image after the other: its Jacobian's product with its own direction, by styles of all places."""
    direction_seed = tf.random.experimental.stateless_fold_in(seed, DIRECTION)
    directions = tf.random.stateless_normal([num_images, 8, 8, 1], direction_seed)
    noise_seed = tf.random.experimental.stateless_fold_in(seed, NOISE)
    lengths = []
    for index in range(num_images):
        noise = BatchRandom(noise_seed, num_images, tf.constant([index]))
        with tf.GradientTape() as tape:
            styles = tf.stack([gan.generator.mapping(latents[index : index + 1])] * gan.generator.num_styles, axis=1)
            tape.watch(styles)
            image = gan.generator.synthesize(styles, random=noise)
            product = tf.reduce_sum(image[0] * directions[index]) / 8.0
        gradients = tape.gradient(product, styles)[0]  # (num_styles, style_dim)
        lengths.append(tf.sqrt(tf.reduce_sum(gradients**2) / gan.generator.num_styles))
    return tf.stack(lengths)


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("generator", ["stylegan2", "vitgan"])
def test_penalty_and_its_gradient_equal_naive_ones(every, generator):
    gan = _gan(every, generator)
    gan.path_length_average.assign(0.7)
    seed = tf.constant([5, 6])
    latents = tf.random.stateless_normal([4, gan.generator.latent_dim], seed)
    variables = gan.generator.trainable_variables
    with tf.GradientTape() as tape:
        lengths = _naive_lengths(gan, latents, seed, 4)
        expected = tf.reduce_mean((lengths - 0.7) ** 2)
    expected_gradients = tape.gradient(expected, variables, unconnected_gradients="zero")
    with tf.GradientTape() as tape:
        (penalty, weight), (length, _) = _path_length(gan, BatchRandom(seed, 4))
    gradients = tape.gradient(penalty, variables, unconnected_gradients="zero")
    assert weight.numpy() == every
    np.testing.assert_allclose(penalty.numpy(), expected.numpy(), rtol=1e-4)
    np.testing.assert_allclose(length.numpy(), lengths.numpy().mean(), rtol=1e-4)
    assert max(np.abs(gradient.numpy()).max() for gradient in expected_gradients) > 1e-3
    for gradient, other in zip(gradients, expected_gradients):
        np.testing.assert_allclose(gradient.numpy(), other.numpy(), rtol=1e-3, atol=1e-5)
    if every > 1:
        gan.step.assign(3)
        assert [(*map(float, value),) for value in _path_length(gan, BatchRandom(seed, 4))] == [(0.0, 0.0)] * 2


def test_the_average_moves_where_there_was_a_penalty_and_is_saved(tmp_path):
    gan = _gan(every=2)
    batches, averages, lengths = _batches(gan), [0.0], []
    for _ in range(4):
        gan.reset_metrics()
        lengths.append(float(gan.train_step(next(batches))["path_length"]))
        averages.append(float(gan.path_length_average))
    assert averages[2] == averages[1] != 0 and averages[4] == averages[3] and lengths[1] == lengths[3] == 0.0
    np.testing.assert_allclose(averages[1], 0.1 * lengths[0], rtol=1e-5)
    np.testing.assert_allclose(averages[3], 0.9 * averages[1] + 0.1 * lengths[2], rtol=1e-5)
    path = gan.checkpoint().save(str(tmp_path / "checkpoint"))
    second = _gan(every=2)
    second.checkpoint().restore(path).assert_consumed()
    assert float(second.path_length_average) == averages[4]


def test_the_step_weighs_it_by_weight_and_interval():
    """The generator's gradient with the penalty, less that without it."""
    norms = {}
    for weight, every in ((0.0, 4), (1e6, 1), (1e6, 4)):
        gan = _gan(every, **{"loss.path_length_weight": weight})
        norms[weight, every] = float(gan.train_step(next(_batches(gan)))["g_gradient_norm"])
    # So large a penalty is all of the gradient.
    assert norms[1e6, 1] > 1e3 * norms[0.0, 4]
    np.testing.assert_allclose(norms[1e6, 4] / norms[1e6, 1], 4.0, rtol=1e-3)
