"""Patches against NumPy slicing and TensorFlow's own extraction, and their inverse."""

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.layers.patches import extract_patches, patches_to_images

# (height, width, patch size, overlap): square and not, overlap none, half a patch, odd, and beyond a whole patch.
GEOMETRIES = [
    (8, 8, 4, 2),
    (8, 12, 4, 0),
    (12, 8, 4, 1),
    (6, 9, 3, 1),
    (8, 8, 4, 3),
    (4, 8, 2, 2),
    (4, 4, 2, 3),
    (4, 6, 2, 5),
]


@pytest.mark.parametrize("height, width, patch, overlap", GEOMETRIES)
def test_patches_equal_slices_of_the_zero_padded_image(height, width, patch, overlap):
    images = np.random.normal(size=(2, height, width, 3)).astype(np.float32)
    padded = np.zeros((2, height + 2 * overlap, width + 2 * overlap, 3), np.float32)
    padded[:, overlap : overlap + height, overlap : overlap + width] = images
    expected = []
    for image in padded:
        for row in range(0, height, patch):
            for column in range(0, width, patch):
                window = image[row : row + patch + 2 * overlap, column : column + patch + 2 * overlap]
                expected.append(window.reshape(-1))
    result = extract_patches(tf.constant(images), patch, overlap).numpy()
    np.testing.assert_array_equal(result, np.reshape(expected, result.shape))


@pytest.mark.parametrize("height, width, patch, overlap", GEOMETRIES)
def test_values_and_gradients_equal_tensorflows(height, width, patch, overlap):
    images = tf.random.normal((2, height, width, 3))
    window = patch + 2 * overlap
    weights = tf.random.normal((2, (height // patch) * (width // patch), window * window * 3))

    def tensorflows(images):
        padded = tf.pad(images, [[0, 0], [overlap, overlap], [overlap, overlap], [0, 0]])
        sizes, strides = [1, window, window, 1], [1, patch, patch, 1]
        return tf.reshape(tf.image.extract_patches(padded, sizes, strides, [1, 1, 1, 1], "VALID"), weights.shape)

    results = []
    for function in (tensorflows, lambda images: extract_patches(images, patch, overlap)):
        with tf.GradientTape() as tape:
            tape.watch(images)
            patches = function(images)
            loss = tf.reduce_sum(weights * patches)
        results.append((patches.numpy(), tape.gradient(loss, images).numpy()))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-5, atol=1e-5)


def test_overlap_keeps_the_number_of_patches_and_covers_the_image():
    ones = tf.ones((1, 8, 8, 1))
    for overlap in range(5):
        patches = extract_patches(ones, 4, overlap)
        assert patches.shape == (1, 4, (4 + 2 * overlap) ** 2)
    with tf.GradientTape() as tape:
        tape.watch(ones)
        total = tf.reduce_sum(extract_patches(ones, 4, 2))
    # How many patches see each pixel: inner ones are shared, the border ones are not.
    counts = tape.gradient(total, ones).numpy()[0, :, :, 0]
    axis = np.array([1, 1, 2, 2, 2, 2, 1, 1])
    np.testing.assert_array_equal(counts, np.outer(axis, axis))


@pytest.mark.parametrize("height, width, patch", [(8, 8, 4), (6, 9, 3), (4, 8, 2)])
def test_patches_to_images_undoes_extraction(height, width, patch):
    images = np.random.normal(size=(3, height, width, 2)).astype(np.float32)
    patches = tf.reshape(extract_patches(images, patch), (3, -1, patch, patch, 2))
    np.testing.assert_array_equal(patches_to_images(patches, height // patch, width // patch).numpy(), images)


def test_refuses_impossible_geometry():
    with pytest.raises(ValueError, match="image of 8 x 10 is not a multiple of patch_size 4"):
        extract_patches(tf.zeros((1, 8, 10, 1)), 4)
    with pytest.raises(ValueError, match="patch_overlap must not be negative"):
        extract_patches(tf.zeros((1, 8, 8, 1)), 4, -1)
