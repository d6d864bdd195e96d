"""The fused formulas against the plain ones, and both against float64: values, gradients, second gradients."""

import math

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from vitgan_tf.graphs import is_kernel
from vitgan_tf.layers import formulas, fused, ops

B, T, F = 3, 5, 7


def _normal(*shape):
    return np.random.normal(size=shape).astype(np.float32)


CASES = {
    "gelu": (lambda x, bias: formulas.bias_act(x, bias, "gelu"), [_normal(B, T, F) * 2, _normal(F)]),
    "gelu and residual": (
        lambda x, bias, residual: formulas.bias_act(x, bias, "gelu", residual),
        [_normal(B, T, F) * 2, _normal(F), _normal(B, T, F)],
    ),
    "bias": (formulas.bias_act, [_normal(B, T, F), _normal(F)]),
    "bias by token": (formulas.bias_act, [_normal(B, T, F), _normal(T, F)]),
    "bias and residual": (
        lambda x, bias, residual: formulas.bias_act(x, bias, residual=residual),
        [_normal(B, T, F), _normal(F), _normal(B, T, F)],
    ),
    "scaled_leaky_relu": (
        formulas.scaled_leaky_relu,
        [_normal(B, T, F), np.abs(_normal(B, F)) + 0.2, _normal(F)],
    ),
    "layer_norm of features": (
        lambda x, scale, offset: formulas.layer_norm(x, scale, offset, 1e-3),
        [_normal(B, T, F) * 3 + 1, _normal(F), _normal(F)],
    ),
    "layer_norm per image": (
        lambda x, scale, offset: formulas.layer_norm(x, scale, offset, 1e-3),
        [_normal(B, T, F) * 3 + 1, _normal(B, 1, F), _normal(B, 1, F)],
    ),
    **{
        f"product of {name}": (
            lambda x, bias, kernel, name=name: formulas.product_of_activation(x, bias, name, kernel, 0.7),
            [_normal(B * T, F) * 2, _normal(F), _normal(F, 4)],
        )
        for name in ("gelu", "silu")
    },
}


@pytest.fixture(autouse=True)
def every_activation_is_large(monkeypatch):
    monkeypatch.setattr(fused, "_LARGE", 0)


def _numpy(name, x, *rest):
    if name.startswith("product"):
        x = x + rest[0]
        return x * (scipy.special.ndtr(x) if "gelu" in name else scipy.special.expit(x)) @ (0.7 * rest[1])
    if name.startswith("gelu"):
        x = x + rest[0]
        return sum(rest[1:], x * scipy.special.ndtr(x))
    if name.startswith("bias"):
        return sum(rest, x)
    if name == "scaled_leaky_relu":
        scale, bias = rest
        y = x * scale[:, None, :] + bias
        return math.sqrt(2) * np.where(y > 0, y, 0.2 * y)
    scale, offset = rest
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return scale * (x - mean) / np.sqrt(variance + 1e-3) + offset


def _upstream(name):
    return _normal(B * T, 4) if name.startswith("product") else _normal(B, T, F)


def _derivatives(function, inputs, upstream, compiled, second=False):
    """Value, gradients of sum(upstream * value); with second, those of a weighted squared norm of the gradients."""

    @tf.function(autograph=False)
    def run(*inputs):
        with formulas.fused_ops(compiled), tf.GradientTape() as outer:
            outer.watch(inputs)
            with tf.GradientTape() as inner:
                inner.watch(inputs)
                value = function(*inputs)
                scalar = tf.reduce_sum(value * upstream)
            gradients = inner.gradient(scalar, inputs)
            # Weighted: the gradient of a layer norm sums to 0, which would hide an error in a mean.
            norms = [
                tf.reduce_sum(tf.square(gradient) * np.random.RandomState(0).uniform(0.5, 2.0, gradient.shape))
                for gradient in gradients
            ]
            norm = tf.add_n(norms)
        if not second:
            return [value, *gradients]
        seconds = outer.gradient(norm, inputs, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [value, *gradients, *seconds]

    return [tensor.numpy() for tensor in run(*[tf.constant(x) for x in inputs])]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_equal_float64(name, compiled):
    """The gradient against central differences of the NumPy formula."""
    function, inputs = CASES[name]
    upstream = _upstream(name)
    value, *gradients = _derivatives(function, inputs, upstream, compiled)
    wide = [x.astype(np.float64) for x in inputs]
    np.testing.assert_allclose(value, _numpy(name, *wide), rtol=1e-5, atol=1e-5)
    for position, gradient in enumerate(gradients):
        expected = np.zeros_like(wide[position])
        for index in np.ndindex(*expected.shape):
            sums = []
            for step in (1e-6, -1e-6):
                moved = [x.copy() for x in wide]
                moved[position][index] += step
                sums.append(np.sum(upstream * _numpy(name, *moved)))
            expected[index] = (sums[0] - sums[1]) / 2e-6
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_second_gradients_of_the_kernels_are_those_of_the_formula_or_refused(name):
    function, inputs = CASES[name]
    upstream = _upstream(name)
    plain = _derivatives(function, inputs, upstream, compiled=False, second=True)
    if "layer_norm" in name:
        with pytest.raises(NotImplementedError, match="need its plain formula"):
            _derivatives(function, inputs, upstream, compiled=True, second=True)
        return
    compiled = _derivatives(function, inputs, upstream, compiled=True, second=True)
    assert len(plain) == len(compiled) == 1 + 2 * len(inputs)
    for expected, value in zip(plain, compiled):
        np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-4)


def test_second_gradient_of_layer_norm_equals_finite_differences():
    """Where `tf.nn.moments`, which stops the gradient at the mean, is wrong."""
    x, scale, offset, upstream, weights = (np.random.normal(size=(1, 2, F)) for _ in range(5))

    @tf.function
    def weighted_gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_sum(formulas.layer_norm(x, scale[:, :1], offset[:, :1], 1e-3) * upstream)
        return tf.reduce_sum(tape.gradient(value, x) ** 2 * weights)

    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = weighted_gradient(x)
    second = tape.gradient(value, x).numpy()
    for index in np.ndindex(*x.shape):
        step = np.zeros(x.shape)
        step[index] = 1e-6
        expected = (weighted_gradient(x + step) - weighted_gradient(x - step)).numpy() / 2e-6
        np.testing.assert_allclose(second[index], expected, rtol=1e-5, atol=1e-6)


def test_kernels_are_used_inside_the_context_only_and_only_on_this_thread():
    def gelu(x):
        return formulas.bias_act(x, tf.zeros([3]), "gelu")

    def xla_functions(compiled):
        with formulas.fused_ops(compiled):
            graph = tf.function(gelu).get_concrete_function(tf.TensorSpec([2, 3])).graph
        definitions = graph.as_graph_def().library.function
        return sum("_XlaMustCompile" in definition.attr for definition in definitions)

    assert xla_functions(True) > 0
    assert xla_functions(False) == 0
    with pytest.raises(RuntimeError, match="inside"), formulas.fused_ops():
        raise RuntimeError("inside")
    assert xla_functions(False) == 0


@pytest.mark.parametrize("activation", ops.ACTIVATIONS)
def test_every_activation_is_that_of_the_sum_before_the_residual(activation):
    x, bias, residual = (tf.constant(_normal(*shape)) for shape in ((B, T, F), (F,), (B, T, F)))
    expected = ops.ACTIVATIONS[activation](x + bias) + residual
    for compiled in (False, True):
        with formulas.fused_ops(compiled):
            found = formulas.bias_act(x, bias, activation, residual)
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_a_gradient_that_is_differentiated_again_is_that_of_the_plain_formulas():
    """Where the fused one refuses: R1 and path lengths need not turn anything off."""
    x, scale, offset = (tf.constant(value) for value in (_normal(B, T, F), _normal(F), _normal(F)))

    def norm(x):
        return tf.reduce_sum(formulas.layer_norm(x, scale, offset, 1e-3) ** 3)

    results = []
    for compiled in (False, True):
        with formulas.fused_ops(compiled), tf.GradientTape() as tape:
            tape.watch(x)
            penalty = tf.reduce_sum(formulas.input_gradient(norm, x) ** 2)
        results.append([penalty.numpy(), tape.gradient(penalty, x).numpy()])
    for plain, with_kernels in zip(*results):
        np.testing.assert_array_equal(plain, with_kernels)


@pytest.mark.parametrize("tokens", [1, T])
def test_the_class_token_alone_needs_no_kernel(tokens):
    @tf.function(autograph=False)
    def block(x, weights):
        with formulas.fused_ops(), tf.GradientTape() as tape:
            tape.watch(x)
            y = formulas.bias_act(formulas.layer_norm(x, weights, weights, 1e-3), weights, residual=x)
            return tape.gradient(formulas.bias_act(y, weights, "gelu"), x)

    graph = block.get_concrete_function(tf.TensorSpec([B, tokens, F]), tf.TensorSpec([F])).graph
    assert any(map(is_kernel, graph.get_operations())) == (tokens > 1)


@pytest.mark.parametrize("least", [0, 1 << 30])
def test_large_activations_are_computed_again_once_their_gradient_is_there(least, monkeypatch):
    """Not earlier: TensorFlow would merge equal operations, and keep the first result until then."""
    monkeypatch.setattr(fused, "_LARGE", least)

    @tf.function(autograph=False)
    def gradient(x, bias, kernel):
        with formulas.fused_ops(), tf.GradientTape() as tape:
            tape.watch(kernel)
            loss = tf.nn.l2_loss(formulas.product_of_activation(x, bias, "gelu", kernel))
        return tape.gradient(loss, kernel)

    graph = gradient.get_concrete_function(*(tf.TensorSpec(shape) for shape in ([B * T, F], [F], [F, 4]))).graph
    products = [operation for operation in graph.get_operations() if operation.type == "MatMul"]
    (outer_products,) = [operation for operation in products if operation.get_attr("transpose_a")]
    activations, upstream = (tensor.op for tensor in outer_products.inputs)
    assert (upstream in activations.control_inputs) == (least == 0)
