"""The two Inception networks: the one of published FIDs, from TensorFlow Hub, and Keras' InceptionV3."""

from __future__ import annotations

import os

import tensorflow as tf

from vitgan_tf.config import DataLocation
from vitgan_tf.config.choices import RESIZES
from vitgan_tf.errors import UserError, first_line
from vitgan_tf.evaluation.extractors import INPUT_WORDS, FeatureExtractor
from vitgan_tf.evaluation.hub import ExtractorNotFoundError, hub_module, sha256_of_saved_model
from vitgan_tf.evaluation.scores import tfgan_eval
from vitgan_tf.files import sha256_of_files

KERAS_WEIGHTS = "inception_v3_weights_tf_dim_ordering_tf_kernels.h5"
KERAS_WEIGHTS_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/{KERAS_WEIGHTS}"
INCEPTION_SIZE = 299
_MISSING = "the Inception module of published FIDs"


def tfgan_inception(location: DataLocation, resize: str = "") -> FeatureExtractor:
    """Loads the 2015 Inception graph of published FIDs, whose TensorFlow Hub address tensorflow-gan holds.

    Read from location.inception if set, else from TensorFlow Hub's cache (TFHUB_CACHE_DIR, or tfhub_modules in
    location.cache_dir), into which it is downloaded if location.download is set.

    Args:
      location: see above.
      resize: name in `choices.RESIZES`; by default tf1, as in published FIDs. With clean, values x of 0 to 255 become
        (x - 128) / 128, as in clean-fid, in place of 2 x / 255 - 1.

    Raises:
      ExtractorNotFoundError: the module is missing.
      UserError: the folder holds something else.
    """
    path = location.inception or hub_module(tfgan_eval().INCEPTION_TFHUB, location, _MISSING, "--inception=FOLDER")
    resizer = RESIZES[resize or "tf1"]
    is_clean = resize == "clean"
    if not os.path.isfile(os.path.join(path, "saved_model.pb")):
        raise UserError(f"{path!r} is not an unpacked TensorFlow Hub module: saved_model.pb is missing")
    try:
        # Loaded once: tensorflow-gan's classifier_fn_from_tfhub reloads it on every call and keeps every copy.
        module = tf.saved_model.load(path)
        outputs = (tfgan_eval().INCEPTION_FINAL_POOL, tfgan_eval().INCEPTION_OUTPUT)

        def function(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            inputs = resizer.function(images, INCEPTION_SIZE)
            activations = module((inputs * 127.5 - 0.5) / 128.0 if is_clean else inputs)
            return tuple(tf.reshape(activations[name], [tf.shape(images)[0], -1]) for name in outputs)

        tf.function(function, autograph=False).get_concrete_function(
            tf.TensorSpec([None, INCEPTION_SIZE, INCEPTION_SIZE, 3])
        )
    except Exception as error:  # damaged and unrelated modules raise errors of many types
        raise UserError(
            f"{path!r} is not tensorflow-gan's Inception module, which maps images (batch, 299, 299, 3) to "
            f"pool_3 and logits: {first_line(error)}"
        ) from error
    return FeatureExtractor(
        "tfgan_inception",
        function,
        sha256_of_saved_model(path),
        resizer.words.format(INCEPTION_SIZE),
        is_published=True,
        other_resize="" if resize == "tf1" else resize,
        input_words="(x - 128) / 128 of values x from 0 to 255" if is_clean else INPUT_WORDS,
    )


def keras_inception(location: DataLocation, resize: str = "") -> FeatureExtractor:
    """Loads Keras' InceptionV3, trained on ImageNet. Its scores are not comparable with published FIDs.

    The weights of the whole network are read from location.inception, else from Keras' own folder ~/.keras/models.

    Args:
      location: see above.
      resize: name in `choices.RESIZES`; by default bilinear.

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
    resizer = RESIZES[resize or "bilinear"]

    def function(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Keras' own preprocessing scales to [-1, 1] too.
        return tuple(network(resizer.function(images, INCEPTION_SIZE), training=False))

    words = resizer.words.format(INCEPTION_SIZE)
    return FeatureExtractor("keras_inception", function, sha256_of_files([path]), words)
