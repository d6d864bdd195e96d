"""Hand-written gradients: those of `tf.custom_gradient`, with fewer operations."""

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.layers.gradients import with_gradient

X, Y = np.array([0.5, -1.0, 2.0], np.float32), np.array([3.0, 0.25, -2.0], np.float32)


def _product_and_sum(x, y):
    """x y and x + y; the gradient of the product with respect to x is written as 10 times too large."""

    def gradient(of_product, of_sum):
        return 10.0 * of_product * y + of_sum, of_product * x + of_sum

    return (x * y, x + y), gradient


def _gradients(function, x, y, weight):
    with tf.GradientTape() as tape:
        tape.watch([x, y])
        product, total = function(x, y)
        loss = tf.reduce_sum(product * weight + 2.0 * total)
    return tape.gradient(loss, [x, y])


@pytest.mark.parametrize("decorator", [with_gradient, tf.custom_gradient])
@pytest.mark.parametrize("compiled", [False, True])
def test_the_written_gradient_is_used(decorator, compiled):
    function = decorator(_product_and_sum)

    def gradients(x, y):
        return _gradients(function, x, y, 3.0)

    of_x, of_y = (tf.function(gradients, autograph=False) if compiled else gradients)(tf.constant(X), tf.constant(Y))
    np.testing.assert_allclose(of_x, 10.0 * 3.0 * Y + 2.0)
    np.testing.assert_allclose(of_y, 3.0 * X + 2.0)


@pytest.mark.parametrize("compiled", [False, True])
def test_variables_have_gradients_and_an_unused_result_counts_as_zero(compiled):
    function, x, y = with_gradient(_product_and_sum), tf.Variable(X), tf.Variable(Y)

    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(function(x, y)[0])
        return tape.gradient(loss, [x, y])

    of_x, of_y = (tf.function(gradients, autograph=False) if compiled else gradients)()
    np.testing.assert_allclose(of_x, 10.0 * Y)
    np.testing.assert_allclose(of_y, X)


@pytest.mark.parametrize("place", ["condition", "loop"])
def test_a_tape_within_a_branch_or_a_loop_sees_it(place):
    function = with_gradient(_product_and_sum)

    @tf.function(autograph=False)
    def gradients(x, y):
        def inside():
            return _gradients(function, x, y, 3.0)[0]

        if place == "condition":
            return tf.cond(x[0] > 0.0, inside, lambda: tf.zeros_like(x))
        return tf.while_loop(lambda i, _: i < 1, lambda i, _: (i + 1, inside()), (0, tf.zeros_like(x)))[1]

    np.testing.assert_allclose(gradients(tf.constant(X), tf.constant(Y)), 30.0 * Y + 2.0)


def test_the_gradient_can_be_differentiated():
    function = with_gradient(_product_and_sum)

    @tf.function(autograph=False)
    def second(x, y):
        with tf.GradientTape() as outer:
            outer.watch(y)
            of_x, _ = _gradients(function, x, y, 1.0)
        return outer.gradient(of_x, y)

    np.testing.assert_allclose(second(tf.constant(X), tf.constant(Y)), np.full(3, 10.0))


def test_a_call_in_a_graph_is_what_it_computes():
    def operations(decorator):
        specification = tf.TensorSpec([3])
        traced = tf.function(lambda x, y: decorator(_product_and_sum)(x, y), autograph=False)
        return [
            operation.type
            for operation in traced.get_concrete_function(specification, specification).graph.get_operations()
        ]

    assert operations(with_gradient) == ["Placeholder", "Placeholder", "Mul", "AddV2", "Identity", "Identity"]
    assert "IdentityN" in operations(tf.custom_gradient)
