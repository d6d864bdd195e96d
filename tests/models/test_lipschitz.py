"""How far outputs move per distance of the inputs: searched for by gradient ascent, and bounded by hand.

`pytest -s tests/models/test_lipschitz.py` prints what is found.
"""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import lambertw

from vitgan_tf.config import override
from vitgan_tf.layers.attention import L2MultiHeadAttention, MultiHeadAttention
from vitgan_tf.models.build import build_discriminator
from vitgan_tf.presets import preset

pytestmark = pytest.mark.slow

TOKENS, DIM, HEADS = 5, 16, 2  # the attention of the tiny preset's discriminator


@pytest.fixture(autouse=True)
def _float64():
    """The pairs that the search ends at are so near to each other that float32 would measure its rounding."""
    tf.keras.backend.set_floatx("float64")
    yield
    tf.keras.backend.set_floatx("float32")


def _norms(x):
    return tf.norm(x, axis=1, keepdims=True)


def _unit(x):
    return x / (_norms(x) + 1e-30)


def _project(x, d, radius):
    """Moves x and x + d into the ball, and the two apart if they are nearer than 1e-5 of its radius."""
    x, y = (end * (radius / tf.maximum(_norms(end), radius)) for end in (x, x + d))
    return x, _unit(y - x) * tf.maximum(_norms(y - x), 1e-5 * radius)


def _ascent(function, shape, num_pairs, steps):
    """Compiled gradient ascent on log(|f(x) - f(x + d)| / |d|): (x, d, radius) -> largest ratio, its x and its d."""

    def ratios(x, d):
        outputs = function(tf.reshape(tf.concat([x, x + d], axis=0), [2 * num_pairs, *shape]))
        first, second = tf.split(tf.reshape(outputs, [2 * num_pairs, -1]), 2)
        return _norms(first - second) / _norms(d)

    @tf.function(autograph=False)
    def ascend(x, d, radius):
        def step(i, x, d, x_velocity, d_velocity, best, best_x, best_d):
            with tf.GradientTape() as tape:
                tape.watch([x, d])
                ratio = ratios(x, d)
                objective = tf.math.log(ratio + 1e-30)
            x_gradient, d_gradient = tape.gradient(objective, [x, d])
            better = (ratio > best) & (_norms(x + d) <= 1.0001 * radius)  # moved apart, an end may leave the ball
            best = tf.where(better, ratio, best)
            best_x, best_d = tf.where(better, x, best_x), tf.where(better, d, best_d)
            # Steps relative to |x| and |d|, whatever the size of the gradient, from long ones to a hundredth of it.
            rate = 0.05 * 0.01 ** (tf.cast(i, x.dtype) / steps)
            x_velocity = 0.9 * x_velocity + _unit(x_gradient)
            d_velocity = 0.9 * d_velocity + _unit(d_gradient)
            x += rate * _norms(x) * _unit(x_velocity)
            d += 5.0 * rate * _norms(d) * _unit(d_velocity)
            return i + 1, *_project(x, d, radius), x_velocity, d_velocity, best, best_x, best_d

        x, d = _project(x, d, radius)
        state = (0, x, d, tf.zeros_like(x), tf.zeros_like(d), tf.zeros_like(x[:, :1]), x, d)
        return tf.while_loop(lambda i, *_: i <= steps, step, state)[-3:]

    return ascend


def largest_ratios(function, shape, scales, num_pairs=1000, steps=100, seed=0):
    """The largest |f(x) - f(y)| / |x - y| found with x and y in a ball, for balls of growing radius.

    What is found is a lower bound of the Lipschitz constant on the ball |x| <= scale * sqrt(n), where n is how many
    numbers an input has: about the norm of n numbers drawn from N(0, scale^2). In large balls almost every random
    start is useless, as the softmax there is saturated and flat. Half of the starts are therefore the best pairs of
    the ball before, as they are and scaled up with the ball.

    Args:
      function: (2 * num_pairs, *shape) -> (2 * num_pairs, ...), float64, each input by itself.
      shape: of one input.
      scales: ascending.
      num_pairs: how many are searched from side by side, in each ball.
      steps: of gradient ascent, in each ball.
      seed: of the starts.

    Returns:
      (len(scales),).
    """
    size = math.prod(shape)
    generator = np.random.default_rng(seed)
    ascend = _ascent(function, shape, num_pairs, steps)
    largest, best = [], None
    for i, scale in enumerate(scales):
        x = generator.normal(size=(num_pairs, size)) * scale
        d = generator.normal(size=(num_pairs, size)) * scale * 1e-2
        if best is not None:
            ratios, best_x, best_d = best
            chosen = np.argsort(-ratios[:, 0])[: num_pairs // 4]
            growth = scale / scales[i - 1]
            x[: 2 * len(chosen)] = np.concatenate([best_x[chosen], growth * best_x[chosen]])
            d[: 2 * len(chosen)] = np.concatenate([best_d[chosen], growth * best_d[chosen]])
        radius = tf.constant(scale * math.sqrt(size), tf.float64)
        best = [tensor.numpy() for tensor in ascend(tf.constant(x), tf.constant(d), radius)]
        largest.append(best[0].max())
    return np.array(largest)


def _print_table(title, scales, columns):
    """Columns by name, a row for each scale."""
    print(f"\n{title}")
    print(f"{'scale':>8}" + "".join(f"{name:>{len(name) + 3}}" for name in columns))
    for row, scale in enumerate(scales):
        print(f"{scale:8g}" + "".join(f"{values[row]:{len(name) + 3}.4g}" for name, values in columns.items()))


def test_search_finds_known_constants():
    scales = (1.0, 4.0)
    matrix = tf.constant(np.random.normal(size=(20, 12)))
    # Largest shortfall of ten seeds: 2e-8, 3e-5 and 0.046; the last constant is that of 12 points of the sphere.
    for function, size, expected, tolerance in (
        (lambda x: tf.matmul(x, matrix), 20, [np.linalg.norm(matrix, 2)] * 2, 0.01),
        (lambda x: tf.sin(5.0 * x), 6, [5.0, 5.0], 0.01),
        (tf.square, 6, [2.0 * scale * math.sqrt(6.0) for scale in scales], 0.1),
    ):
        found = largest_ratios(function, (size,), scales)
        assert np.all(found > (1.0 - tolerance) * np.array(expected))
        assert np.all(found < (1.0 + 1e-6) * np.array(expected))


def _tie_values_to_keys(layer):
    for name in ("kernel", "u", "initial_sigma"):
        getattr(layer.value, name).assign(getattr(layer.query_key, name))


def _l2_attention_bounds(layer, scale):
    """Bounds of the Lipschitz constant of L2 attention on a ball: with any values, and with the keys as values.

    With N tokens, head width d_h, keys k_j, values v_j, P_ij = softmax_j(-|k_i - k_j|^2 / sqrt(d_h)) and outputs
    f_i = sum_j P_ij v_j, primes for derivatives along a direction,

      f_i' = sum_j P_ij v_j' - 2 / sqrt(d_h) sum_j P_ij (v_j - f_i) (k_j - k_i).(k_j' - k_i').

    The first sums have norm |P v'| <= sqrt(N) |v'|. In the second, |k_j' - k_i'| <= sqrt(2) |k'|; and the softmax
    keeps sum_j P_ij |k_j - k_i|^2 <= sqrt(d_h) c, c exp(c + 1) = N - 1, however far apart the keys are (Kim,
    Papamakarios, Mnih 2021). Then Cauchy and Schwarz need sum_j P_ij |v_j - f_i|^2: with values v = k it is at most
    the same, and the bound holds everywhere. With values of their own it is at most max_j |v_j|^2, as tokens of
    nearly equal keys can have any values (a head's keys are a projection to d_h < D dimensions), and the bound is
    linear in the radius. With dot products, sum_j P_ij |k_j - f_i|^2 too has no bound but the radius squared.
    """
    c = lambertw((TOKENS - 1) / math.e).real
    keys, values, outputs = (
        np.linalg.norm(dense.applied_kernel(), 2) for dense in (layer.query_key, layer.value, layer.output_projection)
    )
    radius = scale * math.sqrt(TOKENS * DIM)
    spread = math.sqrt(8.0 * c) * (DIM // HEADS) ** -0.25 * keys
    any_values = math.sqrt(TOKENS) * outputs * values * (1.0 + spread * radius)
    return any_values, math.sqrt(TOKENS) * outputs * keys * (1.0 + math.sqrt(8.0) * c)


def test_l2_attention_with_isn_is_bounded_and_dot_product_attention_is_not():
    scales = (1.0, 2.0, 4.0, 8.0, 16.0)
    shape = (TOKENS, DIM)
    dot_product = MultiHeadAttention(HEADS, normalization="none")
    l2 = L2MultiHeadAttention(HEADS, normalization="isn")
    tied = L2MultiHeadAttention(HEADS, normalization="isn")
    for layer in (dot_product, l2, tied):
        layer.build((None, *shape))
    _tie_values_to_keys(tied)
    l2_bounds = np.array([_l2_attention_bounds(l2, scale)[0] for scale in scales])
    tied_bounds = np.array([_l2_attention_bounds(tied, scale)[1] for scale in scales])
    found = {layer: largest_ratios(layer, shape, scales) for layer in (dot_product, l2, tied)}
    _print_table(
        f"Largest |f(x) - f(y)| / |x - y| found, self-attention over {TOKENS} tokens of {DIM}, {HEADS} heads",
        scales,
        {
            "dot product, none": found[dot_product],
            "L2, ISN": found[l2],
            "its bound": l2_bounds,
            "L2, ISN, values = keys": found[tied],
            "its bound ": tied_bounds,
        },
    )
    assert all(np.all(np.isfinite(ratios)) for ratios in found.values())
    assert np.all(found[l2] <= l2_bounds)
    assert np.all(found[tied] <= tied_bounds)
    # With ten seeds of weights and starts, inputs 16 times as large multiplied the ratio by: 1.04 to 1.10 with values
    # tied to the keys, 8.9 to 16.9 with L2 attention as it is (at most linear), 173 to 272 with dot products (nearly
    # 16^2), which there lay 29 to 103 times above L2.
    growth = {layer: ratios[-1] / ratios[0] for layer, ratios in found.items()}
    assert growth[tied] < 2.0
    assert growth[l2] < 34.0
    assert growth[dot_product] > 80.0
    assert growth[dot_product] > 4.0 * growth[l2]
    assert found[dot_product][-1] > 10.0 * found[l2][-1]


def test_discriminator_does_not_grow_with_the_scale_of_the_images():
    """Layer norms take the scale from what attention sees, whichever it is.

    What is found is then the slope of the layer norms at the images whose tokens are nearly constant, which a longer
    search follows further up. It orders the two attentions no more: of ten seeds, two found the larger ratio with L2.
    """
    scales = (1.0, 4.0, 16.0)
    config = preset("tiny", "d_isn")
    plain = override(config, {"discriminator.attention": "dot_product", "discriminator.normalization": "none"})
    found = {
        name: largest_ratios(build_discriminator(variant), (8, 8, 1), scales, num_pairs=200, steps=60)
        for name, variant in (("dot product, none", plain), ("L2, ISN", config))
    }
    _print_table("Largest |D(x) - D(y)| / |x - y| found, discriminator of the tiny preset", scales, found)
    for ratios in found.values():
        assert np.all(np.isfinite(ratios))
        assert np.all(ratios > 0.1)
        assert ratios[2] < 4.0 * ratios[1]  # with ten seeds 1.0 to 1.4; dot-product attention alone 8 to 14 times
