"""Mixed precision: what has 16 bits and what must not, loss scaling, and training beside float32."""

import math

import numpy as np
import pytest
import tensorflow as tf
from support import replicas, small

from vitgan_tf.config import override
from vitgan_tf.layers import formulas, fused
from vitgan_tf.layers.attention import l2_attention_weights
from vitgan_tf.layers.spectral import ISNDense
from vitgan_tf.presets import preset
from vitgan_tf.training.build import build_gan

pytestmark = pytest.mark.slow

TINY = override(preset("tiny"), {"train.xla": "off"})
SMALL = override(TINY, small.FIELDS)
MIXED = {"mixed_bfloat16": tf.bfloat16, "mixed_float16": tf.float16}
# Relative rounding of one number.
ROUNDING = {tf.bfloat16: 2.0**-8, tf.float16: 2.0**-11}


def _graph(config):
    gan = build_gan(config)
    data = config.data
    images = tf.TensorSpec([config.train.batch_size, data.image_size, data.image_size, data.num_channels])
    return gan, tf.function(gan.train_step, autograph=False).get_concrete_function(images).graph


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("variant", ["vitgan", "g_prepend_conv"])
def test_products_have_16_bits_and_state_and_softmax_have_32(name, variant):
    config = override(preset("tiny", variant), {"train.xla": "off", "train.precision": name})
    gan, graph = _graph(config)
    assert {variable.dtype for variable in replicas.state(gan) if variable.dtype.is_floating} == {tf.float32}
    dtypes = {}
    for operation in graph.get_operations():
        if operation.outputs and operation.outputs[0].dtype.is_floating:
            dtypes.setdefault(operation.type, []).append(operation.outputs[0].dtype)
    assert set(dtypes["Softmax"]) == {tf.float32} and set(dtypes["Softplus"]) == {tf.float32}
    blocks = [
        operation.outputs[0].dtype
        for operation in graph.get_operations()
        if operation.type in ("MatMul", "Conv2D")
        and any(
            part in operation.name for part in ("/mlp/", "/value/", "/output/", "/key/", "/query", "/convolution")
        )
        and not any(product.shape.num_elements() == product.shape[-1] for product in operation.outputs)
    ]
    narrow = [dtype for dtype in blocks if dtype == MIXED[name]]
    # The others are the demodulations' sums of squares and the power iterations.
    assert len(narrow) > 40 and len(narrow) > 0.8 * len(blocks)
    assert gan(tf.zeros([2, 16])).dtype == tf.float32  # the moving average draws in float32
    norms = [op for op in graph.get_operations() if op.type == "Rsqrt"]
    assert norms and {op.outputs[0].dtype for op in norms} == {tf.float32}


def _product_of_gelu(x, bias, kernel):
    return tf.reshape(formulas.product_of_activation(x, bias, "gelu", kernel), x.shape)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("compiled", [False, True])
def test_kernels_lose_the_rounding_of_their_results_alone(dtype, compiled, monkeypatch):
    """The formulas inside are float32: values and gradients against those of the same, rounded inputs in float32."""
    if compiled and dtype == tf.float16:
        pytest.skip("float16 is for GPUs, which have no compiled kernels here")
    monkeypatch.setattr(fused, "_LARGE", 0)
    x, upstream = (tf.cast(np.random.normal(size=(4, 65, 64)) * 3, dtype) for _ in range(2))
    scale, offset = (tf.constant(np.random.normal(size=64), tf.float32) for _ in range(2))
    factors = tf.abs(tf.constant(np.random.normal(size=(4, 64)), tf.float32)) + 0.2
    cases = {
        "layer_norm": (lambda x, *rest: formulas.layer_norm(x, *rest, 1e-5), [scale, offset]),
        "scaled_leaky_relu": (formulas.scaled_leaky_relu, [factors, offset]),
    }
    if compiled:
        # The plain formulas sum the gradient of a bias in the dtype of its outputs.
        cases["gelu"] = (lambda x, bias: formulas.bias_act(x, bias, "gelu"), [offset])
        cases["bias"] = (formulas.bias_act, [offset])
        kernel = tf.constant(np.eye(64) + np.roll(np.eye(64), 1, axis=0), tf.float32)
        cases["product of gelu"] = (_product_of_gelu, [offset, kernel])
    for name, (function, rest) in cases.items():
        results = []
        for inputs, compile_it in ((x, compiled), (tf.cast(x, tf.float32), False)):
            operands = [inputs, *rest]
            with formulas.fused_ops(compile_it), tf.GradientTape() as tape:
                tape.watch(operands)
                value = function(*operands)
            results.append([value, *tape.gradient(value, operands, tf.cast(upstream, value.dtype))])
        for narrow, wide in zip(*results):
            narrow, wide = tf.cast(narrow, tf.float32).numpy(), wide.numpy()
            # Sums of hundreds of rounded terms in the gradients of scale and offset.
            tolerance = 4 * ROUNDING[dtype] * np.abs(wide).max()
            np.testing.assert_allclose(narrow, wide, atol=tolerance, err_msg=name)


def _consumers(tensor):
    """Types of the operations that read a tensor; identities, which custom gradients leave behind, are passed."""
    for operation in tensor.consumers():
        if operation.type in ("Identity", "IdentityN"):
            for source, output in zip(operation.inputs, operation.outputs):
                if source is tensor:
                    yield from _consumers(output)
        else:
            yield operation.type


def test_no_bias_is_left_to_a_product_in_16_bits():
    """Where TensorFlow fuses the two, a processor does not use its matrix unit: three times slower."""
    config = override(preset("tiny"), {"train.precision": "mixed_bfloat16", "train.xla": "kernels"})
    function = tf.function(build_gan(config).train_step, autograph=False)
    graph = function.get_concrete_function(tf.TensorSpec([8, 8, 8, 1])).graph
    products = [op.outputs[0] for op in graph.get_operations() if op.type == "MatMul"]
    narrow = [product for product in products if product.dtype == tf.bfloat16]
    consumers = {consumer for product in narrow for consumer in _consumers(product)}
    assert len(narrow) > 40 and not consumers & {"BiasAdd", "AddV2", "Add"}, consumers


@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_of_biases_are_not_summed_up_in_16_bits(compiled):
    """4096 ones: bfloat16 cannot count beyond 256."""
    inputs, kernel, bias = tf.ones([4096, 3], tf.bfloat16), tf.ones([3, 2]), tf.zeros([2])

    @tf.function(autograph=False)
    def gradients():
        with formulas.fused_ops(compiled), tf.GradientTape() as tape:
            tape.watch([kernel, bias])
            outputs = formulas.bias_act(formulas.product(inputs, kernel), bias)
        assert outputs.dtype == tf.bfloat16
        return tape.gradient(outputs, [kernel, bias])

    for gradient in gradients():
        assert gradient.dtype == tf.float32
        np.testing.assert_array_equal(gradient, np.full(gradient.shape, 4096.0))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("rows, fan_in, units", [(3, 8, 5), (3, 5, 8), (300, 8, 5), (300, 5, 8)])
def test_dense_equals_its_formula_in_every_order(rows, fan_in, units, compiled):
    """Value and gradients of inputs, kernel, scale and bias in float64, also of a kernel given transposed."""
    operands = [np.random.normal(size=shape) for shape in ((rows, fan_in), (fan_in, units), (), (units,))]
    upstream = np.random.normal(size=(rows, units))
    x, kernel, scale, bias = operands
    expected = [
        x @ (kernel * scale) + bias,
        upstream @ (kernel * scale).T,
        x.T @ upstream * scale,
        np.sum(x.T @ upstream * kernel),
        upstream.sum(axis=0),
    ]
    for transposed in (False, True):
        tensors = [
            tf.constant(x),
            tf.constant(kernel.T if transposed else kernel),
            tf.constant(scale),
            tf.constant(bias),
        ]
        with formulas.fused_ops(compiled), tf.GradientTape() as tape:
            tape.watch(tensors)
            value = formulas.bias_act(formulas.product(*tensors[:3], kernel_is_transposed=transposed), tensors[3])
        results = [value, *tape.gradient(value, tensors, upstream)]
        results[2] = tf.transpose(results[2]) if transposed else results[2]
        for result, reference in zip(results, expected):
            np.testing.assert_allclose(result, reference, rtol=1e-12, atol=1e-12)


def test_attention_by_distance_is_right_where_products_of_16_bits_are_not():
    """Long keys close to each other: products near 1000, whose spacing in bfloat16 is 4, and distances of about 1."""
    keys = np.random.normal(size=(1, 1, 9, 64)) * 0.2 + 4.0
    keys = tf.cast(keys, tf.bfloat16)
    weights = tf.cast(l2_attention_weights(keys), tf.float64).numpy()[0, 0]
    wide = tf.cast(keys, tf.float64).numpy()[0, 0]
    logits = -0.5 * np.sum((wide[:, None] - wide[None]) ** 2, axis=-1)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(weights, expected, atol=4e-3)


@pytest.mark.parametrize("xla", ["off", "kernels"])
def test_bfloat16_follows_float32_for_a_few_steps(xla):
    config = override(SMALL, {"train.xla": xla, "train.adam_epsilon": 1e-3})
    _, expected = replicas.train(config, tf.distribute.get_strategy(), 5)
    gan, metrics = replicas.train(
        override(config, {"train.precision": "mixed_bfloat16"}), tf.distribute.get_strategy(), 5
    )
    for name in ("d_loss", "g_loss", "d_gradient_norm", "g_gradient_norm"):
        np.testing.assert_allclose(metrics[name], expected[name], rtol=0.1, err_msg=name)
    # sigma of W at the start is that of a float32 layer: the power iteration is not rounded.
    layers = [layer for layer in gan.discriminator.submodules if isinstance(layer, ISNDense)]
    for layer in layers:
        exact = np.linalg.svd(layer.kernel.numpy(), compute_uv=False)[0]
        assert abs(layer.power_iteration()[0].numpy() / exact - 1) < 1e-3


def test_float16_scales_its_loss_and_leaves_steps_out_that_overflow():
    config = override(TINY, {"train.precision": "mixed_float16"})
    gan = build_gan(config)
    scale = 2.0**15
    for optimizer in (gan.generator_optimizer, gan.discriminator_optimizer):
        assert isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
        assert optimizer.loss_scale.numpy() == scale
    images = tf.random.uniform([8, 8, 8, 1], -1, 1)
    reference = build_gan(TINY)
    expected = {name: value.numpy() for name, value in reference.train_step(images).items()}
    metrics = {name: value.numpy() for name, value in gan.train_step(images).items()}
    for name in ("d_loss", "g_loss", "d_gradient_norm", "g_gradient_norm"):
        np.testing.assert_allclose(metrics[name], expected[name], rtol=0.03, err_msg=name)
    gan.reset_metrics()
    before = [variable.numpy() for variable in gan.discriminator.trainable_variables]
    gan.discriminator_optimizer._loss_scale._current_loss_scale.assign(2.0**120)
    metrics = {name: value.numpy() for name, value in gan.train_step(images).items()}
    for variable, value in zip(gan.discriminator.trainable_variables, before):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert gan.discriminator_optimizer.loss_scale.numpy() == 2.0**119
    # No sign of divergence: the norm is that of no step at all.
    assert all(math.isfinite(value) for value in metrics.values()) and metrics["d_gradient_norm"] == 0
    assert metrics["g_gradient_norm"] > 0


def test_attention_maps_can_be_drawn_in_bfloat16():
    """What the diagnostics of a run call, outside of the networks' own call."""
    gan = build_gan(override(TINY, {"train.precision": "mixed_bfloat16"}))
    wide = build_gan(TINY)
    images = tf.random.stateless_uniform([2, 8, 8, 1], [0, 0], -1, 1)
    latents = tf.random.stateless_normal([2, 16], [0, 0])
    pairs = [
        (gan.discriminator.attention_maps(images), wide.discriminator.attention_maps(images)),
        (gan.generator.attention_maps(latents), wide.generator.attention_maps(latents)),
    ]
    for maps, expected in pairs:
        assert maps.dtype == tf.float32
        np.testing.assert_allclose(maps, expected, atol=0.03)
