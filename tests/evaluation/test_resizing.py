"""Resizing by name: clean as Pillow and clean-fid, the others as TensorFlow."""

import numpy as np
import pytest
import reference.scores as reference
import tensorflow as tf
from PIL import Image
from support import stand_in

from vitgan_tf.config import DataConfig, DataLocation, EvalConfig
from vitgan_tf.config.choices import RESIZES
from vitgan_tf.errors import UserError
from vitgan_tf.evaluation.build import load_extractor
from vitgan_tf.evaluation.inception import tfgan_inception
from vitgan_tf.images import to_float


def _images(count, size, channels=3):
    return np.random.RandomState(size).randint(0, 256, (count, size, size, channels)).astype(np.uint8)


def _by_pillow(images, size):
    """As clean-fid: each channel in float32 by Pillow's BICUBIC, clipped to 0 to 255."""
    planes = [
        [Image.fromarray(plane.astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC) for plane in planes]
        for planes in np.moveaxis(images, -1, 1)
    ]
    return np.moveaxis(np.asarray(planes), 1, -1).clip(0, 255)


def _levels(name, images, size):
    return (RESIZES[name].function(to_float(images), size).numpy().astype(np.float64) + 1) * 127.5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "old, new", [(32, 299), (64, 299), (299, 299), (298, 299), (300, 299), (512, 299), (28, 518), (7, 3), (1, 5)]
)
def test_clean_is_pillows_bicubic_as_clean_fid_has_it(old, new, channels):
    """To 1e-3 of 255 levels, at the borders too, up, down and not at all."""
    images = _images(2, old, channels)
    result, expected = _levels("clean", images, new), _by_pillow(images, new)
    assert result.shape == (2, new, new, channels)
    np.testing.assert_allclose(result, expected, atol=1e-3)
    if old in (32, 512):
        # TensorFlow's own antialiased bicubic is near, its bilinear is not.
        antialiased = tf.image.resize(tf.cast(images, tf.float32), [new, new], "bicubic", antialias=True)
        np.testing.assert_allclose(result, np.clip(antialiased, 0, 255), atol=0.02)
        assert np.abs(result - _levels("bilinear", images, new)).max() > 5


def test_clean_clips_what_bicubic_overshoots():
    images = np.zeros([1, 8, 8, 1], np.uint8)
    images[:, :, 4:] = 255
    result = _levels("clean", images, 64)
    assert (result.min(), result.max()) == (0.0, 255.0) and (result == 255.0).sum() > 64 * 8


@pytest.mark.parametrize("size", [16, 299, 512])
def test_the_others_are_tensorflows(size):
    images = to_float(_images(2, size))
    tf1, bilinear, none = (RESIZES[name].function(images, 299).numpy() for name in ("tf1", "bilinear", "none"))
    np.testing.assert_array_equal(tf1, tf.compat.v1.image.resize(images, [299, 299]))
    np.testing.assert_array_equal(bilinear, tf.image.resize(images, [299, 299]))
    np.testing.assert_array_equal(none, images)


@pytest.mark.parametrize(
    "resize, words, black, white",
    [
        ("", "bilinear to 299 x 299, corners of pixels aligned at the upper left as in TensorFlow 1", -1, 1),
        ("tf1", "bilinear to 299 x 299, corners of pixels aligned at the upper left as in TensorFlow 1", -1, 1),
        ("bilinear", "bilinear to 299 x 299, centres of pixels aligned", -1, 1),
        ("clean", "bicubic to 299 x 299 with antialiasing, as Pillow, clipped to the range of pixels", -1, 127 / 128),
    ],
)
def test_inception_is_given_what_the_protocol_says(tmp_path, resize, words, black, white):
    """The values of clean-fid are (x - 128) / 128, not 2 x / 255 - 1."""
    path = stand_in.write(tmp_path / "inception", values=stand_in.weights(8))
    extractor = load_extractor(
        "tfgan_inception",
        DataConfig("cifar10", 32, 3),
        DataLocation(inception=path),
        settings=EvalConfig(resize=resize),
    )
    images = _images(3, 32)
    ((features, _),) = extractor.activations([images])
    levels = _by_pillow(images, 299) if resize == "clean" else _levels(resize or "tf1", images, 299)
    inputs = black + levels / 255 * (white - black)
    np.testing.assert_allclose(features, reference.stand_in_inception(inputs, stand_in.weights(8))[0], atol=1e-5)
    assert extractor.is_published and extractor.resize.startswith(words)
    assert extractor.other_resize == ("" if resize in ("", "tf1") else resize)
    if resize == "clean":
        other = reference.stand_in_inception(levels / 127.5 - 1, stand_in.weights(8))[0]
        assert np.abs(features - other).max() > 1e-4
        assert extractor.input_words == "(x - 128) / 128 of values x from 0 to 255"


def test_no_resizing_needs_images_of_inceptions_size(tmp_path):
    path = stand_in.write(tmp_path / "inception", values=stand_in.weights(8))
    images = _images(2, 299)
    location, settings = DataLocation(inception=path), EvalConfig(resize="none")
    extractor = load_extractor("tfgan_inception", DataConfig("folder", 299, 3), location, settings=settings)
    ((features, _),) = extractor.activations([images])
    ((expected, _),) = tfgan_inception(location).activations([images])
    np.testing.assert_array_equal(features, expected)
    for name in ("tfgan_inception", "keras_inception"):
        with pytest.raises(UserError, match="Inception takes images of 299 x 299, and those of cifar10 are 32 x 32"):
            load_extractor(name, DataConfig("cifar10", 32, 3), location, settings=settings)


def test_the_digits_are_not_resized():
    with pytest.raises(
        UserError, match="for the digits classifier, images are not resized: leave out --resize=clean"
    ):
        load_extractor("auto", DataConfig("digits", 16, 1), DataLocation(), settings=EvalConfig(resize="clean"))
