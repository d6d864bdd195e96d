"""Parts of the ViT networks that can be chosen by a name. Importing this module imports no TensorFlow."""

from __future__ import annotations

from typing import Any

from vitgan_tf.registry import Registry

# Of linear layers: see `spectral.ISNDense`.
NORMALIZATIONS = ("isn", "sn", "none")

ATTENTIONS: Registry[Any] = Registry(
    "attention",
    {
        "dot_product": "vitgan_tf.layers.attention:MultiHeadAttention",
        "l2": "vitgan_tf.layers.attention:L2MultiHeadAttention",
    },
)
POSITIONS: Registry[Any] = Registry(
    "positional embedding",
    {
        "fourier": "vitgan_tf.layers.coordinates:FourierEmbedding",
        "learned": "vitgan_tf.layers.coordinates:LearnedEmbedding",
    },
)
DECODERS: Registry[Any] = Registry(
    "decoder",
    {
        "fourier": "vitgan_tf.layers.decoders:FourierPatchDecoder",
        "linear": "vitgan_tf.layers.decoders:LinearPatchDecoder",
        "conv": "vitgan_tf.layers.decoders:ConvPatchDecoder",
    },
)
ACTIVATIONS: Registry[Any] = Registry(
    "activation",
    {
        "gelu": "vitgan_tf.layers.ops:gelu",
        "relu": "vitgan_tf.layers.ops:relu",
        "silu": "vitgan_tf.layers.ops:silu",
    },
)
