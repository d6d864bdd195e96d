"""What every layer of the project must do, the inner ones too."""

import inspect
import pkgutil
from importlib import import_module

import numpy as np
import pytest
import tensorflow as tf

import vitgan_tf.layers
import vitgan_tf.models
from vitgan_tf.layers import (
    attention,
    convolution,
    coordinates,
    decoders,
    equalized,
    minibatch,
    modulation,
    noise,
    normalization,
    spectral,
    synthesis,
    transformer,
)
from vitgan_tf.models import biggan, contrad, resnet, stylegan2, transgan

# Layer class, arguments, shapes of its inputs.
CASES = [
    (equalized.EqualizedDense, {"units": 5, "lr_multiplier": 0.1}, [(2, 3, 4)]),
    (spectral.ISNDense, {"units": 5, "normalization": "isn"}, [(2, 3, 4)]),
    (spectral.ISNDense, {"units": 5, "normalization": "sn", "use_bias": False}, [(2, 3, 4)]),
    (spectral.ISNConv2D, {"units": 5}, [(2, 4, 6, 3)]),
    (spectral.ISNConv2D, {"units": 5, "kernel_size": 1, "normalization": "sn"}, [(2, 4, 6, 3)]),
    (attention.MultiHeadAttention, {"num_heads": 2}, [(2, 3, 4)]),
    (attention.RelativeMultiHeadAttention, {"num_heads": 2, "grid_size": 2}, [(2, 4, 4)]),
    (attention.L2MultiHeadAttention, {"num_heads": 2, "normalization": "isn"}, [(2, 3, 4)]),
    (normalization.LayerNorm, {"epsilon": 1e-4}, [(2, 3, 4)]),
    (normalization.BatchNorm, {"momentum": 0.5, "epsilon": 1e-4, "has_affine": True}, [(2, 4, 6, 3)]),
    (modulation.SelfModulatedLayerNorm, {"epsilon": 1e-2}, [(2, 3, 4), (2, 6)]),
    (modulation.ModulatedDense, {"units": 5, "activation": "leaky_relu"}, [(3, 4), (2, 6)]),
    (coordinates.FourierEmbedding, {"embed_dim": 6}, [(7, 2)]),
    (coordinates.LearnedEmbedding, {"embed_dim": 6}, [(7, 2)]),
    (decoders.LinearPatchDecoder, {"patch_size": 2, "num_channels": 3}, [(2, 3, 4)]),
    (decoders.ConvPatchDecoder, {"patch_size": 2, "num_channels": 3}, [(2, 4, 6), (2, 5)]),
    (convolution.EqualizedConv2D, {"units": 5}, [(2, 4, 6, 3)]),
    (convolution.EqualizedConv2D, {"units": 5, "downsample": True}, [(2, 4, 6, 3)]),
    (
        convolution.EqualizedConv2D,
        {"units": 5, "kernel_size": 1, "use_bias": False, "activation": "linear"},
        [(2, 4, 6, 3)],
    ),
    (convolution.ModulatedConv2D, {"units": 5}, [(2, 4, 4, 3), (2, 6)]),
    (convolution.ModulatedConv2D, {"units": 5, "kernel_size": 1, "demodulate": False}, [(2, 4, 4, 3), (2, 6)]),
    (synthesis.StyledConv2D, {"units": 5}, [(2, 4, 4, 3), (2, 6)]),
    (synthesis.StyledConv2D, {"units": 5, "upsample": True}, [(2, 4, 4, 3), (2, 6)]),
    (synthesis.ToImage, {"num_channels": 3}, [(2, 4, 4, 3), (2, 6)]),
    (synthesis.StyledSynthesis, {"units": (4, 3), "num_channels": 2}, [(2, 4, 4, 5), (2, 4, 6)]),
    (minibatch.MinibatchStandardDeviation, {"group_size": 2}, [(2, 4, 6, 3)]),
    (decoders.FourierPatchDecoder, {"patch_size": 2, "num_channels": 3, "hidden_dim": 4}, [(2, 3, 4)]),
    (transformer.FeedForward, {"mlp_dim": 6, "activation": "silu", "normalization": "isn"}, [(2, 3, 4)]),
    (transformer.TransformerBlock, {"num_heads": 2, "mlp_dim": 6, "attention": "l2"}, [(2, 3, 4)]),
    (
        transformer.TransformerBlock,
        {"num_heads": 2, "mlp_dim": 6, "attention": "dot_product", "modulated": True},
        [(2, 3, 4), (2, 6)],
    ),
    (transgan.TransGANBlock, {"num_heads": 2, "grid_size": 2}, [(2, 4, 8)]),
    (transgan.TransGANBlock, {"num_heads": 2}, [(2, 5, 8)]),
    (transgan.TransGANBlock, {"num_heads": 2, "grid_size": 2, "has_noise": True}, [(2, 4, 8)]),
    (noise.TokenNoise, {"grid_size": 2}, [(2, 4, 8)]),
    (contrad.TwoLayers, {"hidden_dim": 5, "units": 3}, [(2, 8)]),
    (contrad.ContraDHead, {"hidden_dim": 5}, [(2, 8)]),
    (biggan.ConditionalBatchNorm, {"epsilon": 1e-3}, [(2, 4, 4, 5), (2, 3)]),
    (biggan.UpsamplingBlock, {"width": 5}, [(2, 4, 4, 3), (2, 6)]),
    (stylegan2.ResidualBlock, {"units": 5}, [(2, 4, 6, 3)]),
    (resnet.ResNetBlock, {"width": 5, "downsample": True, "is_first": True}, [(2, 4, 6, 3)]),
    (resnet.ResNetBlock, {"width": 3, "downsample": False, "spectral_norm": "isn"}, [(2, 4, 6, 3)]),
]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0].__name__}-{'-'.join(map(str, case[1].values()))}")
def case(request):
    layer_class, arguments, shapes = request.param
    inputs = [tf.random.normal(shape) for shape in shapes]
    return layer_class, arguments, inputs[0] if len(inputs) == 1 else tuple(inputs)


def test_no_layer_is_missing_here():
    classes = set()
    for package in (vitgan_tf.layers, vitgan_tf.models):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for _, member in inspect.getmembers(import_module(module.name), inspect.isclass):
                if issubclass(member, tf.keras.layers.Layer) and member.__module__ == module.name:
                    classes.add(member)
    classes = {layer_class for layer_class in classes if not issubclass(layer_class, tf.keras.Model)}
    public = {layer_class for layer_class in classes if not layer_class.__name__.startswith("_")}
    assert public == {layer_class for layer_class, _, _ in CASES}


def test_config_round_trip(case):
    layer_class, arguments, inputs = case
    layer = layer_class(**arguments, name="some_name")
    config = layer.get_config()
    assert arguments.items() <= config.items()
    twin = layer_class.from_config(config)
    layer(inputs), twin(inputs)
    assert [(v.name, v.shape) for v in twin.weights] == [(v.name, v.shape) for v in layer.weights]
    twin.set_weights(layer.get_weights())
    np.testing.assert_array_equal(twin(inputs).numpy(), layer(inputs).numpy())


def test_build_makes_all_weights_and_again_changes_nothing(case):
    layer_class, arguments, inputs = case
    layer = layer_class(**arguments)
    layer.build(
        tf.nest.map_structure(lambda x: x.shape, inputs)
        if isinstance(inputs, tf.Tensor)
        else tuple(x.shape for x in inputs)
    )
    before = [variable.ref() for variable in layer.variables]
    layer(inputs)
    assert [variable.ref() for variable in layer.variables] == before
    assert (len(before) == 0) == (layer_class is minibatch.MinibatchStandardDeviation)
    assert (len(layer.trainable_variables) == 0) == (len(before) == 0)


@pytest.mark.slow
def test_graph_equals_eager_with_static_and_unknown_batch(case):
    layer_class, arguments, inputs = case
    layer = layer_class(**arguments)
    expected = layer(inputs).numpy()
    function = tf.function(lambda x: layer(x))
    np.testing.assert_allclose(function(inputs).numpy(), expected, rtol=1e-5, atol=1e-6)
    if layer_class is modulation.ModulatedDense:
        return  # shared points have no batch
    spec = tf.nest.map_structure(lambda x: tf.TensorSpec([None, *x.shape[1:]]), inputs)
    unknown = tf.function(lambda x: layer(x), input_signature=[spec])
    np.testing.assert_allclose(unknown(inputs).numpy(), expected, rtol=1e-5, atol=1e-6)


def _weights_of_a_call(layer):
    """ContraD's projections are in `contrast` alone: tests/training/test_contrad.py."""
    is_contrad = isinstance(layer, contrad.ContraDHead)
    return layer.logit.trainable_variables if is_contrad else layer.trainable_variables


@pytest.mark.slow
def test_xla_compiles_value_and_gradient(case):
    layer_class, arguments, inputs = case
    layer = layer_class(**arguments)
    layer(inputs)

    def value_and_gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = layer(x)
            loss = tf.reduce_sum(tf.square(value))
        return [value, *tape.gradient(loss, _weights_of_a_call(layer) or [x])]

    expected = value_and_gradients(inputs)
    compiled = tf.function(value_and_gradients, jit_compile=True, autograph=False)(inputs)
    for plain, xla in zip(expected, compiled):
        np.testing.assert_allclose(xla.numpy(), plain.numpy(), rtol=1e-3, atol=1e-3)


def test_every_trainable_weight_gets_a_gradient(case):
    layer_class, arguments, inputs = case
    layer = layer_class(**arguments)
    with tf.GradientTape() as tape:
        value = layer(inputs)
        loss = tf.reduce_sum(value * tf.random.normal(value.shape))
    variables = _weights_of_a_call(layer)
    for variable, gradient in zip(variables, tape.gradient(loss, variables)):
        assert gradient is not None, variable.name
        assert np.abs(gradient.numpy()).max() > 0, variable.name


@pytest.mark.slow
def test_weights_survive_a_checkpoint(case, tmp_path):
    layer_class, arguments, inputs = case
    layer, other = layer_class(**arguments), layer_class(**arguments)
    layer(inputs), other(inputs)
    path = tf.train.Checkpoint(layer=layer).save(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(layer=other).restore(path).assert_consumed()
    np.testing.assert_array_equal(other(inputs).numpy(), layer(inputs).numpy())
