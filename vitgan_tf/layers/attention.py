"""Multi-head self-attention: scaled dot-product and L2 (Lipschitz)."""

from __future__ import annotations

import math
from typing import Any, Callable

import tensorflow as tf

from vitgan_tf.layers.gradients import with_gradient
from vitgan_tf.layers.ops import as_float32
from vitgan_tf.layers.spectral import ISNDense


def split_heads(tokens: tf.Tensor, num_heads: int) -> tf.Tensor:
    """(batch, num_tokens, embed_dim) -> (batch, num_heads, num_tokens, head_dim)."""
    _, num_tokens, embed_dim = tokens.shape
    return tf.transpose(tf.reshape(tokens, [-1, num_tokens, num_heads, embed_dim // num_heads]), [0, 2, 1, 3])


def merge_heads(heads: tf.Tensor) -> tf.Tensor:
    """(batch, num_heads, num_tokens, head_dim) -> (batch, num_tokens, embed_dim): inverse of `split_heads`."""
    _, num_heads, num_tokens, head_dim = heads.shape
    return tf.reshape(tf.transpose(heads, [0, 2, 1, 3]), [-1, num_tokens, num_heads * head_dim])


def first_tokens(tokens: tf.Tensor, count: int | None) -> tf.Tensor:
    """Returns the first count tokens of (batch, num_tokens, embed_dim); None returns all, without a slice's copy."""
    return tokens if count is None else tokens[:, :count]


def dot_product_attention_weights(queries: tf.Tensor, keys: tf.Tensor, bias: tf.Tensor | None = None) -> tf.Tensor:
    """softmax_j(q_i . k_j + bias_ij), with the softmax in float32.

    Args:
      queries: (..., num_queries, head_dim), already divided by sqrt(head_dim).
      keys: (..., num_tokens, head_dim).
      bias: float32, broadcast to (..., num_queries, num_tokens); None for no bias.

    Returns:
      (..., num_queries, num_tokens) in the dtype of keys; rows sum to 1.
    """
    logits = tf.matmul(queries, keys, transpose_b=True)
    return _softmax(logits if bias is None else as_float32(logits) + bias, keys.dtype)


def l2_attention_weights(keys: tf.Tensor, num_queries: int | None = None) -> tf.Tensor:
    """softmax_j(-|k_i - k_j|^2 / 2), in float32, with queries tied to keys.

    The logits are expanded to k_i.k_j - |k_j|^2 / 2, which needs no tensor of differences. The term |k_i|^2 is
    constant per row and cancels in the softmax.

    Args:
      keys: (..., num_tokens, head_dim), already multiplied by sqrt(2) / head_dim^(1/4).
      num_queries: number of first tokens used as queries; None for all.

    Returns:
      (..., num_queries, num_tokens) in the dtype of keys; rows sum to 1.
    """
    dtype = keys.dtype
    # Large products and norms nearly cancel: bfloat16's 8 significant bits cannot resolve their difference.
    keys = as_float32(keys)
    if num_queries is None:
        products, squared_norms = _products_of_pairs(keys)
    else:
        products = tf.matmul(keys[..., :num_queries, :], keys, transpose_b=True)
        squared_norms = tf.reduce_sum(tf.square(keys), axis=-1)
    return _softmax(products - 0.5 * tf.expand_dims(squared_norms, -2), dtype)


def _softmax(logits: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return tf.cast(tf.nn.softmax(as_float32(logits)), dtype)


@with_gradient
def _products_of_pairs(keys: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable]:
    """k_i.k_j and |k_j|^2. With their gradients G and n, dK = (G + G^T + 2 diag(n)) K, a single product."""
    products = tf.matmul(keys, keys, transpose_b=True)

    def gradient(upstream: tf.Tensor, upstream_norms: tf.Tensor) -> tf.Tensor:
        symmetric = upstream + tf.linalg.matrix_transpose(upstream)
        diagonal = tf.linalg.diag_part(symmetric) + 2.0 * upstream_norms
        return tf.matmul(tf.linalg.set_diag(symmetric, diagonal), keys)

    return (products, tf.linalg.diag_part(products)), gradient


class _SelfAttention(tf.keras.layers.Layer):
    """Base class of the attention layers: everything except queries and keys."""

    def __init__(self, num_heads: int, normalization: str = "none", **kwargs: Any):
        super().__init__(**kwargs)
        if num_heads < 1:
            raise ValueError(f"num_heads must be at least 1, got {num_heads}")
        self.num_heads = num_heads
        self.normalization = normalization

    def _add_projection(self, name: str, input_shape: Any, use_bias: bool) -> ISNDense:
        layer = ISNDense(input_shape[-1], use_bias=use_bias, normalization=self.normalization, name=name)
        layer.build(input_shape)
        return layer

    def build(self, input_shape: Any) -> None:
        if input_shape[-1] % self.num_heads:
            raise ValueError(f"embed_dim {input_shape[-1]} is not a multiple of num_heads {self.num_heads}")
        self.value = self._add_projection("value", input_shape, use_bias=False)
        self.output_projection = self._add_projection("output", input_shape, use_bias=True)
        super().build(input_shape)

    def attention_weights(self, tokens: tf.Tensor, num_queries: int | None = None) -> tf.Tensor:
        """Computes the attention weights.

        Args:
          tokens: (batch, num_tokens, embed_dim).
          num_queries: number of first tokens used as queries; None for all.

        Returns:
          (batch, num_heads, num_queries, num_tokens); rows sum to 1.
        """
        raise NotImplementedError

    def call(
        self,
        tokens: tf.Tensor,
        num_queries: int | None = None,
        residual: tf.Tensor | None = None,
    ) -> tf.Tensor:
        weights = self.attention_weights(tokens, num_queries)
        values = split_heads(self.value(tokens), self.num_heads)
        attended = merge_heads(tf.matmul(weights, values))
        return self.output_projection(attended, residual=residual)


class MultiHeadAttention(_SelfAttention):
    """Scaled dot-product multi-head self-attention (Vaswani et al. 2017).

    A_h(X) = softmax((X W_q + b_q) (X W_k)^T / sqrt(d_h)) (X W_v),   MSA(X) = concat_h(A_h(X)) W + b

    Keys and values have no bias: a key bias cancels in the softmax, a value bias is absorbed by the output
    projection's.

    Call: (batch, num_tokens, embed_dim) -> same shape. With num_queries=n, the outputs of the first n tokens only,
    (batch, n, embed_dim); they attend to all tokens. A residual of the output shape is added.

    Args:
      num_heads: number of heads h; d_h = embed_dim / h.
      normalization: normalisation of the four projections, see `ISNDense`.

    Raises:
      ValueError: num_heads is below 1, or embed_dim is not a multiple of it.
    """

    def build(self, input_shape: Any) -> None:
        self.query = self._add_projection("query", input_shape, use_bias=True)
        self.key = self._add_projection("key", input_shape, use_bias=False)
        super().build(input_shape)

    def attention_weights(self, tokens: tf.Tensor, num_queries: int | None = None) -> tf.Tensor:
        # Scaling the kernel instead of the logits costs nothing.
        gain = 1.0 / math.sqrt(tokens.shape[-1] // self.num_heads)
        queries = self.query(first_tokens(tokens, num_queries), gain=gain)
        queries = split_heads(queries, self.num_heads)
        keys = split_heads(self.key(tokens), self.num_heads)
        return dot_product_attention_weights(queries, keys, self._logit_bias(num_queries))

    def _logit_bias(self, num_queries: int | None) -> tf.Tensor | None:
        """Returns the bias of the logits, (num_heads, num_queries, num_tokens), or None."""
        return None


class RelativeMultiHeadAttention(MultiHeadAttention):
    """Multi-head self-attention over a square token grid, with a learned bias per head and displacement.

    A_h(X) = softmax((X W_q + b_q) (X W_k)^T / sqrt(d_h) + E_h) (X W_v),   E_h[i, j] = table[y_i - y_j, x_i - x_j, h]
    (Jiang et al. 2021, section 3.4, "relative position encoding")

    E is computed by two products of the table with constant matrices, because a lookup has a sparse gradient.

    Call: as `MultiHeadAttention`, with num_tokens = grid_size^2 in raster order.

    Args:
      num_heads: number of heads h; d_h = embed_dim / h.
      grid_size: edge of the token grid.
      normalization: normalisation of the four projections, see `ISNDense`.

    Raises:
      ValueError: num_heads or grid_size is below 1, embed_dim is not a multiple of num_heads, or the number of
        tokens is not grid_size^2.
    """

    def __init__(self, num_heads: int, grid_size: int, normalization: str = "none", **kwargs: Any):
        super().__init__(num_heads, normalization, **kwargs)
        if grid_size < 1:
            raise ValueError(f"grid_size must be at least 1, got {grid_size}")
        self.grid_size = grid_size

    def build(self, input_shape: Any) -> None:
        if input_shape[1] != self.grid_size**2:
            raise ValueError(f"expected {self.grid_size**2} tokens, got {input_shape[1]}")
        displacements = 2 * self.grid_size - 1
        self.table = self.add_weight(
            name="table",
            shape=(displacements, displacements, self.num_heads),
            initializer=tf.keras.initializers.TruncatedNormal(stddev=0.02),
            experimental_autocast=False,
        )
        super().build(input_shape)

    def _logit_bias(self, num_queries: int | None) -> tf.Tensor:
        size = self.grid_size
        places = tf.range(size)
        along_axis = tf.one_hot(places[:, None] - places + size - 1, 2 * size - 1, dtype=self.table.dtype)
        rows = tf.einsum("ywa,abh->ywbh", along_axis, self.table)
        bias = tf.reshape(tf.einsum("xzb,ywbh->hyxwz", along_axis, rows), [self.num_heads, size**2, size**2])
        return bias if num_queries is None else bias[:, :num_queries]


class L2MultiHeadAttention(_SelfAttention):
    """Lipschitz multi-head self-attention: logits are negative squared distances, queries are tied to keys.

    A_h(X) = softmax(-|x_i W_q - x_j W_q|^2 / sqrt(d_h)) (X W_v),   MSA(X) = concat_h(A_h(X)) W + b
    (paper, "Enforcing Lipschitzness of Transformer Discriminator", after Kim, Papamakarios, Mnih 2021. Their theorem
    needs the minus sign and W_q = W_k; the paper's own equation omits the sign.)

    There are no biases on queries and values: a query bias cancels in the differences, a value bias is absorbed by
    the output projection's.

    Call: (batch, num_tokens, embed_dim) -> same shape. With num_queries=n, the outputs of the first n tokens only,
    (batch, n, embed_dim); they attend to all tokens. A residual of the output shape is added.

    Args:
      num_heads: number of heads h; d_h = embed_dim / h.
      normalization: normalisation of the three projections, see `ISNDense`.

    Raises:
      ValueError: num_heads is below 1, or embed_dim is not a multiple of it.
    """

    def build(self, input_shape: Any) -> None:
        self.query_key = self._add_projection("query_key", input_shape, use_bias=False)
        super().build(input_shape)

    def attention_weights(self, tokens: tf.Tensor, num_queries: int | None = None) -> tf.Tensor:
        gain = math.sqrt(2.0) * (tokens.shape[-1] // self.num_heads) ** -0.25
        keys = split_heads(self.query_key(tokens, gain=gain), self.num_heads)
        return l2_attention_weights(keys, num_queries)
