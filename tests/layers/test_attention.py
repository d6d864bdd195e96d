"""Both attentions against naive loops in float64, and the properties that distinguish them."""

import math

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.layers.attention import L2MultiHeadAttention, MultiHeadAttention, l2_attention_weights, split_heads

BATCH, TOKENS, DIM, HEADS = 2, 5, 12, 3
HEAD_DIM = DIM // HEADS


def _softmax(logits):
    exponentials = np.exp(logits - max(logits))
    return exponentials / exponentials.sum()


def _naive(x, query_kernel, key_kernel, value_kernel, query_bias, output_kernel, output_bias, logit):
    """Attention by loops over images, heads and pairs of tokens; logit(query, key) -> number."""
    result = np.zeros_like(x)
    for image in range(x.shape[0]):
        heads = []
        for head in range(HEADS):
            columns = slice(head * HEAD_DIM, (head + 1) * HEAD_DIM)
            queries = x[image] @ query_kernel[:, columns] + query_bias[columns]
            keys = x[image] @ key_kernel[:, columns]
            values = x[image] @ value_kernel[:, columns]
            rows = []
            for query in queries:
                weights = _softmax(np.array([logit(query, key) for key in keys]))
                rows.append(sum(weight * value for weight, value in zip(weights, values)))
            heads.append(np.array(rows))
        result[image] = np.concatenate(heads, axis=1) @ output_kernel + output_bias
    return result


def _kernel(layer):
    return layer.applied_kernel().numpy().astype(np.float64)


def _inputs():
    return np.random.normal(size=(BATCH, TOKENS, DIM))


@pytest.mark.parametrize("normalization", ["isn", "none"])
def test_l2_attention_equals_a_naive_loop(normalization):
    layer = L2MultiHeadAttention(HEADS, normalization=normalization)
    layer.build((None, TOKENS, DIM))
    layer.output_projection.bias.assign(tf.random.normal((DIM,)))
    x = _inputs()
    tied = _kernel(layer.query_key)
    expected = _naive(
        x,
        tied,
        tied,
        _kernel(layer.value),
        np.zeros(DIM),
        _kernel(layer.output_projection),
        layer.output_projection.bias.numpy(),
        lambda query, key: -np.sum((query - key) ** 2) / math.sqrt(HEAD_DIM),
    )
    np.testing.assert_allclose(layer(x.astype(np.float32)).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("normalization", ["isn", "none"])
def test_dot_product_attention_equals_a_naive_loop(normalization):
    layer = MultiHeadAttention(HEADS, normalization=normalization)
    layer.build((None, TOKENS, DIM))
    for dense in (layer.query, layer.output_projection):
        dense.bias.assign(tf.random.normal((DIM,)))
    x = _inputs()
    expected = _naive(
        x,
        _kernel(layer.query),
        _kernel(layer.key),
        _kernel(layer.value),
        layer.query.bias.numpy(),
        _kernel(layer.output_projection),
        layer.output_projection.bias.numpy(),
        lambda query, key: query @ key / math.sqrt(HEAD_DIM),
    )
    np.testing.assert_allclose(layer(x.astype(np.float32)).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attention", [L2MultiHeadAttention, MultiHeadAttention])
def test_permuting_tokens_permutes_outputs(attention):
    layer = attention(HEADS)
    x = _inputs().astype(np.float32)
    order = np.random.permutation(TOKENS)
    np.testing.assert_allclose(layer(x[:, order]).numpy(), layer(x).numpy()[:, order], rtol=1e-4, atol=1e-5)


def test_l2_weights_fall_with_distance_and_a_token_attends_most_to_itself():
    queries = tf.random.normal((1, 1, 20, 4), stddev=2.0)
    weights = l2_attention_weights(queries).numpy()[0, 0]
    points = queries.numpy()[0, 0]
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    for row, distance in zip(weights, distances):
        assert np.all(np.diff(row[np.argsort(distance)]) <= 1e-7)
    np.testing.assert_array_equal(np.argmax(weights, axis=1), np.arange(20))
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-5)


def test_l2_weights_do_not_change_when_all_queries_move_together():
    queries = tf.random.normal((2, 3, 6, 4))
    moved = queries + 3.0
    np.testing.assert_allclose(
        l2_attention_weights(queries).numpy(),
        l2_attention_weights(moved).numpy(),
        rtol=1e-3,
        atol=1e-5,
    )


def _l2_weights_by_differences(keys, num_queries):
    differences = keys[..., :num_queries, None, :] - keys[..., None, :, :]
    return tf.nn.softmax(-tf.reduce_sum(differences**2, axis=-1) / math.sqrt(keys.shape[-1]))


@pytest.mark.parametrize("num_queries", [None, 1, 5])
def test_l2_weights_and_two_gradients_equal_those_of_the_differences(num_queries):
    """The second gradient is that of a gradient penalty. Reference in float64."""
    keys = np.random.randn(2, 3, 7, 4)
    upstream = np.random.randn(2, 3, num_queries or 7, 7)

    def derivatives(function, dtype):
        x = tf.constant(keys, dtype)
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                weights = function(x, num_queries)
                loss = tf.reduce_sum(weights * tf.constant(upstream, dtype))
            first = inner.gradient(loss, x)
            penalty = tf.reduce_sum(first**2)
        return weights.numpy(), first.numpy(), outer.gradient(penalty, x).numpy()

    expected = derivatives(_l2_weights_by_differences, tf.float64)
    for value, reference in zip(derivatives(l2_attention_weights, tf.float32), expected):
        np.testing.assert_allclose(value, reference, rtol=1e-4, atol=1e-5)


def test_attention_weights_method_is_what_call_uses():
    """A one-hot value matrix shows the weights in the output."""
    for layer in (L2MultiHeadAttention(1), MultiHeadAttention(1)):
        x = tf.random.normal((2, 4, 4))
        layer.build(x.shape)
        weights = layer.attention_weights(x).numpy()[:, 0]
        values = x.numpy() @ _kernel(layer.value) @ _kernel(layer.output_projection)
        np.testing.assert_allclose(layer(x).numpy(), weights @ values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attention", [L2MultiHeadAttention, MultiHeadAttention])
def test_first_queries_alone_are_those_of_the_whole(attention):
    layer = attention(HEADS)
    x = _inputs().astype(np.float32)
    whole = layer(x).numpy()
    for count in (1, 3):
        np.testing.assert_allclose(layer(x, num_queries=count).numpy(), whole[:, :count], rtol=1e-5, atol=1e-6)


def test_split_heads_puts_consecutive_features_into_a_head():
    x = np.arange(BATCH * TOKENS * DIM, dtype=np.float32).reshape(BATCH, TOKENS, DIM)
    heads = split_heads(tf.constant(x), HEADS).numpy()
    for head in range(HEADS):
        np.testing.assert_array_equal(heads[:, head], x[:, :, head * HEAD_DIM : (head + 1) * HEAD_DIM])


@pytest.mark.parametrize("attention", [L2MultiHeadAttention, MultiHeadAttention])
def test_refuses_senseless_arguments(attention):
    with pytest.raises(ValueError, match="num_heads must be at least 1"):
        attention(0)
    with pytest.raises(ValueError, match="embed_dim 12 is not a multiple of num_heads 5"):
        attention(5).build((None, TOKENS, DIM))
