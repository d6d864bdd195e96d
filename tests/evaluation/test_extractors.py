"""Extractors: resizing and value range as tensorflow-gan's, batches, and what is refused."""

import hashlib
import os
import re

import numpy as np
import pytest
import reference.scores as reference
import tensorflow as tf
from support import stand_in

from vitgan_tf.config import DataLocation
from vitgan_tf.errors import UserError
from vitgan_tf.evaluation import hub
from vitgan_tf.evaluation.extractors import FeatureExtractor
from vitgan_tf.evaluation.inception import ExtractorNotFoundError, keras_inception, tfgan_inception
from vitgan_tf.evaluation.resizing import BILINEAR, TF1
from vitgan_tf.evaluation.scores import tfgan_eval
from vitgan_tf.files import sha256_of_files
from vitgan_tf.images import to_float


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    return stand_in.write(tmp_path_factory.mktemp("hub") / "inception")


def _location(**values):
    return DataLocation(**values)


def _images(count, size, channels=3):
    return np.random.RandomState(size).randint(0, 256, (count, size, size, channels)).astype(np.uint8)


def _run(extractor, images):
    features, logits = zip(*extractor.activations([images]))
    return np.concatenate(features), np.concatenate(logits)


@pytest.mark.parametrize("size", [8, 28, 32, 64, 299])
def test_resizing_is_tensorflow_1s(size):
    """That of tensorflow-gan's own example (examples/cifar/util.py), which works on images in [-1, 1]."""
    images = to_float(_images(2, size))
    result = TF1.function(images, 299).numpy()
    np.testing.assert_array_equal(result, tf.compat.v1.image.resize(images, [299, 299]).numpy())
    np.testing.assert_allclose(result, reference.resize_bilinear_tf1(images.numpy(), 299), atol=1e-5)
    if size not in (8, 299):
        # What TensorFlow 2 makes of it is another picture.
        assert np.abs(result - BILINEAR.function(images, 299).numpy()).max() > 0.1


@pytest.mark.filterwarnings("ignore:`tf.layers.flatten` is deprecated:UserWarning")  # tensorflow-gan's
def test_tfgan_inception_gives_what_tensorflow_gan_extracts(module):
    extractor = tfgan_inception(_location(inception=module))
    images = _images(37, 32)
    features, logits = _run(extractor, images)
    # By tensorflow-gan: images in [-1, 1], resized as in its example, through its own wrapper of the module.
    size = tfgan_eval().INCEPTION_DEFAULT_IMAGE_SIZE
    resized = tf.compat.v1.image.resize(to_float(images), [size, size], method=tf.image.ResizeMethod.BILINEAR)
    outputs = tfgan_eval().run_classifier_fn(
        resized, tfgan_eval().classifier_fn_from_tfhub(module, ["pool_3", "logits"])
    )
    np.testing.assert_allclose(features, outputs["pool_3"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(logits, outputs["logits"], rtol=1e-4, atol=1e-4)
    # And by NumPy in float64.
    resized = reference.resize_bilinear_tf1(reference.to_unit_range(images), 299)
    expected = reference.stand_in_inception(resized, stand_in.weights())
    np.testing.assert_allclose(features, expected[0], atol=1e-5)
    np.testing.assert_allclose(logits, expected[1], atol=1e-4)
    assert features.shape == (37, 2048) and logits.shape == (37, 1008)
    assert extractor.is_published and "299 x 299" in extractor.resize


def test_grey_images_become_three_equal_channels(module):
    extractor = tfgan_inception(_location(inception=module))
    grey = _images(3, 28, channels=1)
    colour = tfgan_inception(_location(inception=module))
    for values, expected in zip(_run(extractor, grey), _run(colour, np.repeat(grey, 3, axis=-1))):
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("sizes", [[50], [1] * 50, [7, 0, 20, 23], [16, 34]])
@pytest.mark.parametrize("batch_size", [1, 8, 50, 64])
def test_batches_of_any_size_give_the_same_rows(sizes, batch_size):
    images = _images(50, 4, channels=1)
    calls = []

    def function(images):
        calls.append(images.shape)
        flat = tf.reshape(images, [-1, 16])
        return flat[:, :5], flat[:, 5:]

    extractor = FeatureExtractor("slices", function, "", "none", num_channels=1, batch_size=batch_size)
    batches = np.split(images, np.cumsum(sizes)[:-1])
    features, logits = (np.concatenate(values) for values in zip(*extractor.activations(batches)))
    expected = reference.to_unit_range(images).reshape(50, 16)
    np.testing.assert_allclose(np.concatenate([features, logits], axis=1), expected, atol=1e-6)
    assert calls == [(batch_size, 4, 4, 1)]  # traced once, with one static shape


def test_float_images_are_neither_rounded_nor_scaled(module):
    extractor = tfgan_inception(_location(inception=module))
    images = _images(37, 32)
    features, logits = _run(extractor, images)
    of_floats = _run(extractor, to_float(images).numpy())
    np.testing.assert_array_equal(of_floats[0], features)
    np.testing.assert_array_equal(of_floats[1], logits)
    shifted = _run(extractor, to_float(images).numpy() + np.float32(1e-3))[0]  # an eighth of a grey level
    assert 1e-6 < np.abs(shifted - features).max() < 0.1
    np.testing.assert_array_equal(_run(extractor, images)[0], features)


def test_activations_that_are_not_finite_are_refused():
    extractor = FeatureExtractor("broken", lambda images: (images[:, 0, 0], tf.math.log(images[:, 0, 0] - 2)), "", "")
    with pytest.raises(UserError, match="activations of broken are not finite"):
        _run(extractor, _images(3, 4))


def test_the_hash_is_of_the_weights(module, tmp_path):
    first = tfgan_inception(_location(inception=module)).sha256
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert tfgan_inception(_location(inception=module)).sha256 == first
    values = stand_in.weights()
    values["w1"][0, 0] += 1
    other = stand_in.write(tmp_path / "other", values=values)
    changed = tfgan_inception(_location(inception=other)).sha256
    assert changed != first
    (tmp_path / "other" / "notes.txt").write_text("not of the network")
    os.symlink("nowhere", tmp_path / "other" / "variables" / "dangling")
    assert tfgan_inception(_location(inception=other)).sha256 == changed
    (tmp_path / "file").write_bytes(b"abc" * 2**20)
    assert sha256_of_files([str(tmp_path / "file")]) == hashlib.sha256(b"abc" * 2**20).hexdigest()


def test_the_module_is_found_in_tensorflow_hubs_cache(module, tmp_path, monkeypatch):
    """Under the name that TensorFlow Hub itself gives it, in TFHUB_CACHE_DIR or in our cache."""
    name = hashlib.sha1(b"https://tfhub.dev/tensorflow/tfgan/eval/inception/1").hexdigest()
    expected = tfgan_inception(_location(inception=module)).sha256
    (tmp_path / "hub").mkdir()
    os.symlink(module, tmp_path / "hub" / name)
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    assert tfgan_inception(_location(cache_dir=str(tmp_path / "none"))).sha256 == expected
    import tensorflow_hub

    assert tensorflow_hub.resolve(tfgan_eval().INCEPTION_TFHUB) == str(tmp_path / "hub" / name)
    monkeypatch.delenv("TFHUB_CACHE_DIR")
    (tmp_path / "cache" / "tfhub_modules").mkdir(parents=True)
    os.symlink(module, tmp_path / "cache" / "tfhub_modules" / name)
    assert tfgan_inception(_location(cache_dir=str(tmp_path / "cache"))).sha256 == expected


def test_without_the_module_the_message_says_what_to_fetch_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.delenv("TFHUB_CACHE_DIR", raising=False)
    with pytest.raises(ExtractorNotFoundError) as error:
        tfgan_inception(_location(cache_dir=str(tmp_path)))
    message = str(error.value)
    assert "fetch https://tfhub.dev/tensorflow/tfgan/eval/inception/1?tf-hub-format=compressed" in message
    assert repr(str(tmp_path / "tfhub_modules")[:-1])[1:-1] in message and "--inception=FOLDER" in message
    monkeypatch.setattr(hub, "unreachable", lambda url: "no route")
    with pytest.raises(ExtractorNotFoundError, match=r"not on this machine \(no route\)"):
        tfgan_inception(_location(cache_dir=str(tmp_path), download=True))
    assert os.listdir(tmp_path) == []


def test_a_download_goes_to_the_cache_and_is_found_there_again(module, tmp_path, monkeypatch):
    """TensorFlow Hub unpacks the archive that a server gives; here it is given by the file system."""
    import io
    import tarfile

    from tensorflow_hub import compressed_module_resolver

    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(module, arcname=".")
    asked = []

    def urlopen(_, request):
        asked.append(request.full_url)
        return io.BytesIO(archive.getvalue())

    monkeypatch.delenv("TFHUB_CACHE_DIR", raising=False)
    monkeypatch.setattr(hub, "unreachable", lambda url: None)
    monkeypatch.setattr(compressed_module_resolver.HttpCompressedFileResolver, "_call_urlopen", urlopen)
    location = _location(cache_dir=str(tmp_path), download=True)
    first = tfgan_inception(location)
    assert asked == ["https://tfhub.dev/tensorflow/tfgan/eval/inception/1?tf-hub-format=compressed"]
    assert tfgan_inception(_location(cache_dir=str(tmp_path))).sha256 == first.sha256
    assert "TFHUB_CACHE_DIR" not in os.environ


def test_what_is_not_the_module_is_refused(tmp_path):
    with pytest.raises(UserError, match="not an unpacked TensorFlow Hub module"):
        tfgan_inception(_location(inception=str(tmp_path)))
    only_logits = stand_in.write(tmp_path / "only_logits", outputs=("logits",))
    with pytest.raises(UserError, match=r"not tensorflow-gan's Inception module.*pool_3"):
        tfgan_inception(_location(inception=only_logits))
    tf.saved_model.save(tf.Module(), str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"not tensorflow-gan's Inception module.*not callable"):
        tfgan_inception(_location(inception=str(tmp_path / "empty")))
    cut = stand_in.write(tmp_path / "cut", values=stand_in.weights(96))
    (data,) = (tmp_path / "cut" / "variables").glob("variables.data-*")
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(UserError, match="not tensorflow-gan's Inception module"):
        tfgan_inception(_location(inception=cut))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "saved_model.pb").write_bytes(b"\x00garbage")
    with pytest.raises(UserError, match="not tensorflow-gan's Inception module"):
        tfgan_inception(_location(inception=str(tmp_path / "damaged")))


@pytest.mark.slow
def test_keras_inception_is_the_network_of_keras_applications(tmp_path):
    """Against the same weights run by Keras' own pooling and preprocessing."""
    whole = tf.keras.applications.InceptionV3(weights=None, classifier_activation=None)
    path = str(tmp_path / "weights.h5")
    whole.save_weights(path)
    images = _images(2, 64)
    features, logits = _run(keras_inception(_location(inception=path)), images)
    resized = tf.image.resize(tf.cast(images, tf.float32), [299, 299])
    inputs = tf.keras.applications.inception_v3.preprocess_input(resized)
    pooled = tf.keras.Model(whole.input, tf.keras.layers.GlobalAveragePooling2D()(whole.get_layer("mixed10").output))
    np.testing.assert_allclose(features, pooled(inputs), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(logits, whole(inputs), rtol=1e-3, atol=1e-4)
    assert features.shape == (2, 2048) and np.ptp(features) > 0
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(UserError, match=r"text\.h5' does not hold the weights"):
        keras_inception(_location(inception=str(tmp_path / "text.h5")))


def test_without_keras_weights_the_message_says_what_to_fetch(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ExtractorNotFoundError) as error:
        keras_inception(_location())
    message = str(error.value)
    assert f"there is no file {str(tmp_path / '.keras' / 'models')!r}"[:-1] in message
    assert "fetch https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/" in message
