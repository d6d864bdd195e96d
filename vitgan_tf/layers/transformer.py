"""Transformer blocks: plain for the discriminator, style-modulated for the generator."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from vitgan_tf.config.choices import ACTIVATIONS, ATTENTIONS
from vitgan_tf.layers.attention import first_tokens
from vitgan_tf.layers.modulation import SelfModulatedLayerNorm
from vitgan_tf.layers.normalization import LayerNorm
from vitgan_tf.layers.spectral import ISNDense


class FeedForward(tf.keras.layers.Layer):
    """MLP(h) = act(h W_1 + b_1) W_2 + b_2, applied to each token (Vaswani et al. 2017).

    Call: (..., embed_dim) -> same shape. A residual of that shape is added.

    Args:
      mlp_dim: hidden width.
      activation: "gelu", "relu" or "silu".
      normalization: normalisation of the two linear layers, see `ISNDense`.

    Raises:
      ValueError: activation is unknown.
    """

    def __init__(self, mlp_dim: int, activation: str = "gelu", normalization: str = "none", **kwargs: Any):
        super().__init__(**kwargs)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}")
        self.mlp_dim = mlp_dim
        self.activation = activation
        self.normalization = normalization

    def build(self, input_shape: Any) -> None:
        self.expand = ISNDense(self.mlp_dim, normalization=self.normalization, name="expand")
        self.expand.build(input_shape)
        self.contract = ISNDense(input_shape[-1], normalization=self.normalization, name="contract")
        self.contract.build((*input_shape[:-1], self.mlp_dim))
        super().build(input_shape)

    def call(self, tokens: tf.Tensor, residual: tf.Tensor | None = None) -> tf.Tensor:
        # The second product applies the activation, because its gradient can compute it again.
        hidden = self.expand(tokens, adds_bias=False)
        return self.contract(hidden, input_activation=(self.expand.bias, self.activation), residual=residual)


class TransformerBlock(tf.keras.layers.Layer):
    """Pre-norm block: h' = MSA(norm(h)) + h,   h'' = MLP(norm(h')) + h'.

    In the discriminator, norm is layer norm (Dosovitskiy et al. 2021). With modulated, norm is self-modulated by a
    style w, as in the generator (paper, "Generator Design").

    Call: tokens (batch, num_tokens, embed_dim), or with modulated the pair (tokens, style (batch, style_dim)) ->
    shape of tokens. With num_queries=n, only the first n tokens are computed and returned, (batch, n, embed_dim).

    Args:
      num_heads: number of attention heads.
      mlp_dim: hidden width of the MLP.
      attention: "l2" or "dot_product".
      activation: activation of the MLP, "gelu", "relu" or "silu".
      normalization: normalisation of all linear layers, see `ISNDense`.
      modulated: whether a style modulates the norms.

    Raises:
      ValueError: attention or activation is unknown, or embed_dim is not a multiple of num_heads.
    """

    def __init__(
        self,
        num_heads: int,
        mlp_dim: int,
        attention: str,
        activation: str = "gelu",
        normalization: str = "none",
        modulated: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if attention not in ATTENTIONS:
            raise ValueError(f"attention must be one of {sorted(ATTENTIONS)}, got {attention!r}")
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.attention = attention
        self.activation = activation
        self.normalization = normalization
        self.modulated = modulated

    def build(self, input_shape: Any) -> None:
        tokens_shape = input_shape[0] if self.modulated else input_shape
        norm = SelfModulatedLayerNorm if self.modulated else LayerNorm
        self.attention_norm = norm(name="attention_norm")
        self.attention_norm.build(input_shape)
        self.self_attention = ATTENTIONS[self.attention](
            self.num_heads, normalization=self.normalization, name="self_attention"
        )
        self.self_attention.build(tokens_shape)
        self.mlp_norm = norm(name="mlp_norm")
        self.mlp_norm.build(input_shape)
        self.mlp = FeedForward(self.mlp_dim, self.activation, normalization=self.normalization, name="mlp")
        self.mlp.build(tokens_shape)
        super().build(input_shape)

    def call(
        self,
        inputs: tf.Tensor | tuple[tf.Tensor, tf.Tensor],
        num_queries: int | None = None,
    ) -> tf.Tensor:
        tokens, style = inputs if self.modulated else (inputs, None)
        normalized = self._norm(self.attention_norm, tokens, style)
        tokens = self.self_attention(
            normalized,
            num_queries=num_queries,
            residual=first_tokens(tokens, num_queries),
        )
        return self.mlp(self._norm(self.mlp_norm, tokens, style), residual=tokens)

    def attention_weights(
        self, inputs: tf.Tensor | tuple[tf.Tensor, tf.Tensor], num_queries: int | None = None
    ) -> tf.Tensor:
        """Computes the attention weights of this block, (batch, num_heads, num_queries, num_tokens)."""
        tokens, style = inputs if self.modulated else (inputs, None)
        normalized = self._norm(self.attention_norm, tokens, style)
        return self.self_attention.attention_weights(normalized, num_queries=num_queries)

    def _norm(self, norm: tf.keras.layers.Layer, tokens: tf.Tensor, style: tf.Tensor | None) -> tf.Tensor:
        return norm((tokens, style)) if self.modulated else norm(tokens)
