"""Losses and regularisers against the float64 references in tests/reference, and both gradients of R1."""

import numpy as np
import pytest
import tensorflow as tf
from reference import losses as reference
from reference import networks
from reference.comparison import (
    assert_close,
    converge_power_iterations,
    float64_layers,
    moved,
    randomize,
    unit_directions,
    variables,
    weights,
)

from vitgan_tf import losses
from vitgan_tf.config import override
from vitgan_tf.layers.formulas import fused_ops
from vitgan_tf.models.build import build_discriminator
from vitgan_tf.presets import preset
from vitgan_tf.registries import ADVERSARIAL_LOSSES
from vitgan_tf.training.build import build_gan
from vitgan_tf.training.objectives import DiscriminatorPass, lazy_r1


@pytest.fixture(params=[1.0, 20.0], ids=["small", "large"])
def logits(request):
    """Of real and of generated images."""
    return [(request.param * np.random.normal(size=9)).astype(np.float32) for _ in range(2)]


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_adversarial_losses(name, logits):
    discriminator_loss, generator_loss, compares = ADVERSARIAL_LOSSES[name]
    assert_close(discriminator_loss(*logits), getattr(reference, f"{name}_discriminator")(*logits))
    arguments = logits if compares else logits[1:]
    assert_close(generator_loss(*arguments), getattr(reference, f"{name}_generator")(*arguments))


def test_consistency(logits):
    assert_close(losses.consistency_loss(*logits), reference.consistency(*logits))


def test_lecam(logits):
    averages = np.float32(0.7), np.float32(-0.4)
    expected = reference.lecam(*logits, *map(np.float64, averages))
    assert_close(losses.lecam_loss(*logits, *averages), expected)
    expected = reference.rectified_lecam(*logits, *map(np.float64, averages))
    assert_close(losses.rectified_lecam_loss(*logits, *averages), expected)


def test_r1_penalty_of_a_gradient():
    gradient = np.random.normal(size=(3, 4, 5, 2)).astype(np.float32)
    assert_close(losses.r1_penalty(tf.constant(gradient)), reference.r1_penalty(gradient))


class _Penalized:
    """R1 of a tiny discriminator with random weights: the library's in float64, and what the reference says.

    The penalty is that of finite differences of the reference in every pixel. For its gradients, with the sum F(x, W)
    of the logits and g = dF/dx, so that R1 = |g|^2 / batch, and along a direction d of a weight,

        dR1/dW d = 2 / batch * d^2/dadb F(x + a g, W + b d)   at a = b = 0,

    of which `expected_gradients` has the central difference, one for each weight.
    """

    def __init__(self, changes):
        tf.keras.utils.set_random_seed(0)
        self.config = override(preset("tiny"), {f"discriminator.{name}": value for name, value in changes.items()})
        with float64_layers():
            self.discriminator = build_discriminator(self.config)
        randomize(self.discriminator)
        converge_power_iterations(self.discriminator)
        self.images = np.random.uniform(-1, 1, size=(2, 8, 8, 1))
        names = "patch_size", "num_heads", "patch_overlap", "attention", "normalization"
        arguments = {name: getattr(self.config.discriminator, name) for name in names}
        values = weights(self.discriminator)

        def logit_sum(images, values=values):
            return np.sum(networks.discriminator(values, images, **arguments))

        self.image_gradient = reference.finite_difference_gradient(logit_sum, self.images)
        self.expected = reference.r1_penalty(self.image_gradient)
        self.directions = unit_directions(values, _trainable(self.discriminator))
        length = np.sqrt(np.sum(self.image_gradient**2))
        a, b = 3e-4 / length, 3e-4  # where errors of rounding and of the fourth derivatives are equal, about 1e-7
        self.expected_gradients = []
        for path, direction in self.directions.items():
            corners = [
                sign_a * sign_b * logit_sum(x, moved(values, path, sign_b * b * direction))
                for sign_a, x in ((sign, self.images + sign * a * self.image_gradient) for sign in (1, -1))
                for sign_b in (1, -1)
            ]
            self.expected_gradients.append(2.0 / len(self.images) * np.sum(corners) / (4.0 * a * b))

    def penalty(self):
        """R1 and the gradient in the images, by the library."""
        images = tf.constant(self.images)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            logits = self.discriminator(images)
        gradient = tape.gradient(logits, images)
        return losses.r1_penalty(gradient), gradient

    def check_gradients(self, gradients, rtol, atol):
        """atol relative to the largest."""
        actual = [np.sum(gradients[path].numpy() * direction) for path, direction in self.directions.items()]
        largest = np.abs(self.expected_gradients).max()
        paths = str(list(self.directions))
        np.testing.assert_allclose(actual, self.expected_gradients, rtol=rtol, atol=atol * largest, err_msg=paths)


def _trainable(network):
    return {path: variable for path, variable in variables(network).items() if variable.trainable}


def _gradients(tape, value, network):
    return tape.gradient(value, _trainable(network), unconnected_gradients=tf.UnconnectedGradients.ZERO)


@pytest.fixture(
    scope="module",
    params=[{}, {"attention": "dot_product", "normalization": "none", "patch_overlap": 0}],
    ids=["l2-isn", "dot_product-none"],
)
def penalized(request):
    return _Penalized(request.param)


@pytest.mark.slow
def test_r1_and_its_gradient(penalized):
    with tf.GradientTape() as tape:
        value, image_gradient = penalized.penalty()
    np.testing.assert_allclose(image_gradient, penalized.image_gradient, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(value, penalized.expected, rtol=1e-8)
    penalized.check_gradients(_gradients(tape, value, penalized.discriminator), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_r1_and_its_gradient_inside_a_condition(penalized):
    """As in the training step: the penalty in one branch of a tf.cond, in a tf.function."""

    @tf.function(autograph=False)
    def step(due):
        with tf.GradientTape() as tape:
            value = tf.cond(due, lambda: penalized.penalty()[0], lambda: tf.zeros([], tf.float64))
        return value, _gradients(tape, value, penalized.discriminator)

    value, gradients = step(tf.constant(True))
    np.testing.assert_allclose(value, penalized.expected, rtol=1e-8)
    penalized.check_gradients(gradients, rtol=1e-5, atol=1e-6)
    value, gradients = step(tf.constant(False))
    assert value == 0 and all(np.all(gradient == 0) for gradient in gradients.values())


@pytest.mark.slow
@pytest.mark.parametrize("every_steps", [1, 2])
def test_r1_of_the_training_step(penalized, every_steps):
    """In float32 with the compiled kernels, as the step takes it: always, or in every second step, doubled."""
    changes = {"loss.r1_gamma": 1.0, "loss.r1_every_steps": every_steps, "train.xla": "kernels"}
    gan = build_gan(override(penalized.config, changes))
    gan.discriminator.set_weights(penalized.discriminator.get_weights())

    @tf.function(autograph=False)
    def step():
        with fused_ops(), tf.GradientTape() as tape:
            views = tf.concat([tf.constant(penalized.images, tf.float32)] * 4, axis=0)  # R1 is that of the first
            inputs = DiscriminatorPass(gan.discriminator, views, gan.config.loss, gan.step, None, None)
            penalty, weight = lazy_r1(inputs)
        return penalty, weight, _gradients(tape, penalty, gan.discriminator)

    for number in (0, 1):
        gan.step.assign(number)
        penalty, weight, gradients = step()
        if number % every_steps:
            assert penalty == weight == 0 and all(np.all(gradient == 0) for gradient in gradients.values())
            continue
        assert weight == every_steps
        np.testing.assert_allclose(penalty, penalized.expected, rtol=1e-5)
        penalized.check_gradients(gradients, rtol=1e-5, atol=1e-5)
