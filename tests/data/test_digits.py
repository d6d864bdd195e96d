"""The embedded digits."""

import numpy as np
import pytest
from PIL import Image
from sklearn import datasets

from vitgan_tf.config import DataConfig
from vitgan_tf.data.digits import load_digits
from vitgan_tf.data.loading import load_images
from vitgan_tf.errors import UserError


def test_at_their_own_size_the_scans_are_unchanged():
    images, labels = load_digits(8)
    raw = datasets.load_digits()
    assert images.shape == (1797, 8, 8, 1) and images.dtype == np.uint8
    np.testing.assert_array_equal(images[..., 0], np.rint(raw.images * 255 / 16))
    np.testing.assert_array_equal(labels, raw.target)
    assert set(labels) == set(range(10))


def test_enlarged_like_pillows_bicubic():
    images, _ = load_digits(16)
    assert images.shape == (1797, 16, 16, 1)
    raw = datasets.load_digits().images.astype(np.float32) * (255 / 16)
    for i in (0, 7, 100):
        # Pillow's kernel has a = -0.5, as TensorFlow's.
        expected = np.asarray(Image.fromarray(raw[i]).resize((16, 16), Image.BICUBIC))
        np.testing.assert_allclose(images[i, ..., 0], np.clip(expected, 0, 255), atol=1.0)


def test_colours_are_refused():
    with pytest.raises(UserError, match="one channel"):
        load_images(DataConfig(dataset="digits", image_size=8, num_channels=3))
