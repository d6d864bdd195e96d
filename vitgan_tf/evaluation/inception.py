"""The two Inception networks: the one of published FIDs, from TensorFlow Hub, and Keras' InceptionV3."""

from __future__ import annotations

import glob
import hashlib
import os

import tensorflow as tf
from absl import logging

from vitgan_tf.config import DataLocation
from vitgan_tf.connectivity import unreachable
from vitgan_tf.errors import UserError, first_line
from vitgan_tf.evaluation.extractors import FeatureExtractor
from vitgan_tf.evaluation.scores import tfgan_eval
from vitgan_tf.files import sha256_of_files

KERAS_WEIGHTS = "inception_v3_weights_tf_dim_ordering_tf_kernels.h5"
KERAS_WEIGHTS_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/{KERAS_WEIGHTS}"
_RESIZE = "bilinear to {0} x {0}, corners of pixels aligned at the upper left as in TensorFlow 1"


class ExtractorNotFoundError(UserError):
    """Missing weights of an extractor; the message says where to get them."""


def resize_as_tfgan(images: tf.Tensor) -> tf.Tensor:
    """Resizes images to (batch, 299, 299, channels) like tensorflow-gan's examples and the graph of the first FID.

    Bilinear, by TensorFlow 1's rule: output pixel i of n reads input position i * size / n, without the half-pixel
    offset of today's `tf.image.resize`. No antialiasing of larger images.
    """
    size = tfgan_eval().INCEPTION_DEFAULT_IMAGE_SIZE
    return tf.compat.v1.image.resize_bilinear(images, [size, size])


def tfgan_inception(location: DataLocation) -> FeatureExtractor:
    """Loads the 2015 Inception graph of published FIDs, whose TensorFlow Hub address tensorflow-gan holds.

    Read from location.inception if set, else from TensorFlow Hub's cache (TFHUB_CACHE_DIR, or tfhub_modules in
    location.cache_dir), into which it is downloaded if location.download is set.

    Raises:
      ExtractorNotFoundError: the module is missing.
      UserError: the folder holds something else.
    """
    path = location.inception or _hub_module(location)
    if not os.path.isfile(os.path.join(path, "saved_model.pb")):
        raise UserError(f"{path!r} is not an unpacked TensorFlow Hub module: saved_model.pb is missing")
    try:
        # Loaded once: tensorflow-gan's classifier_fn_from_tfhub reloads it on every call and keeps every copy.
        module = tf.saved_model.load(path)
        outputs = (tfgan_eval().INCEPTION_FINAL_POOL, tfgan_eval().INCEPTION_OUTPUT)

        def function(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            activations = module(resize_as_tfgan(images))
            return tuple(tf.reshape(activations[name], [tf.shape(images)[0], -1]) for name in outputs)

        tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec([None, 32, 32, 3]))
    except Exception as error:  # damaged and unrelated modules raise errors of many types
        raise UserError(
            f"{path!r} is not tensorflow-gan's Inception module, which maps images (batch, 299, 299, 3) to "
            f"pool_3 and logits: {first_line(error)}"
        ) from error
    weights = sorted(glob.glob(os.path.join(glob.escape(path), "variables", "variables.*")))
    sha256 = sha256_of_files([os.path.join(path, "saved_model.pb"), *weights])
    resize = _RESIZE.format(tfgan_eval().INCEPTION_DEFAULT_IMAGE_SIZE)
    return FeatureExtractor("tfgan_inception", function, sha256, resize, is_published=True)


def _hub_module(location: DataLocation) -> str:
    """Returns the module's folder in TensorFlow Hub's cache, downloading it first if allowed."""
    address = tfgan_eval().INCEPTION_TFHUB
    cache_dir = os.environ.get("TFHUB_CACHE_DIR") or os.path.join(location.cache_dir, "tfhub_modules")
    folder = os.path.join(cache_dir, hashlib.sha1(address.encode()).hexdigest())  # as TensorFlow Hub names it
    if os.path.isdir(folder) and os.listdir(folder):
        return folder
    reason: str | None = "--download would fetch it"
    if location.download:
        reason = unreachable(address)
        if reason is None:
            logging.info("downloading %s to %s", address, folder)
            try:
                return _download(address, cache_dir)
            except Exception as error:  # errors of many types: network, certificates, archive, disk
                reason = first_line(error)
    raise ExtractorNotFoundError(
        f"the Inception module of published FIDs is not on this machine ({reason}): fetch "
        f"{address}?tf-hub-format=compressed, unpack it into {folder!r}, or into any folder and pass "
        "--inception=FOLDER"
    )


def _download(address: str, cache_dir: str) -> str:
    import tensorflow_hub

    before = os.environ.get("TFHUB_CACHE_DIR")
    os.environ["TFHUB_CACHE_DIR"] = cache_dir
    try:
        return tensorflow_hub.resolve(address)
    finally:
        if before is None:
            del os.environ["TFHUB_CACHE_DIR"]


def keras_inception(location: DataLocation) -> FeatureExtractor:
    """Loads Keras' InceptionV3, trained on ImageNet. Its scores are not comparable with published FIDs.

    The weights of the whole network are read from location.inception, else from Keras' own folder ~/.keras/models.

    Raises:
      ExtractorNotFoundError: the weights are missing.
      UserError: the file holds something else.
    """
    path = location.inception or os.path.expanduser(os.path.join("~", ".keras", "models", KERAS_WEIGHTS))
    if not os.path.isfile(path):
        raise ExtractorNotFoundError(
            f"there is no file {path!r} with the weights of Keras' InceptionV3: fetch {KERAS_WEIGHTS_URL} and put it "
            "there, or pass --inception=FILE"
        )
    try:
        whole = tf.keras.applications.InceptionV3(weights=path, classifier_activation=None)
    except Exception as error:  # damaged files raise errors of many types
        raise UserError(f"{path!r} does not hold the weights of Keras' InceptionV3: {first_line(error)}") from error
    network = tf.keras.Model(whole.input, [whole.get_layer("avg_pool").output, whole.output])
    size = whole.input_shape[1]

    def function(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Keras' own preprocessing scales to [-1, 1] too.
        return tuple(network(tf.image.resize(images, [size, size]), training=False))

    resize = f"bilinear to {size} x {size}, centres of pixels aligned"
    return FeatureExtractor("keras_inception", function, sha256_of_files([path]), resize)
