"""Small networks as people bring them to judge images: linear in the pixels of images of a fixed or of any size."""

import numpy as np
import tensorflow as tf

DIM = 5


def weights(inputs, seed=0):
    """(inputs, DIM) float32."""
    return np.random.RandomState(seed).normal(size=(inputs, DIM)).astype(np.float32)


class Tiny(tf.Module):
    """Images (batch, size, size, channels) -> `outputs` of features (batch, DIM), images, and other inputs."""

    def __init__(self, size, channels=3, seed=0, outputs=lambda features, images: features):
        super().__init__()
        self.kernel = tf.Variable(weights(size * size * channels, seed))
        spec = tf.TensorSpec([None, size, size, channels], tf.float32, name="pixels")
        self.judge = tf.function(lambda pixels: outputs(self._features(pixels), pixels), input_signature=[spec])

    def _features(self, pixels):
        return tf.reshape(pixels, [-1, self.kernel.shape[0]]) @ self.kernel


class Callable(Tiny):
    """As `Tiny`, but the module itself is called."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.__call__ = self.judge


def write(path, size, signature_only=False, **kwargs):
    """Writes the SavedModel, and returns its folder."""
    if signature_only:
        module = Tiny(size, outputs=lambda features, images: {"embedding": features}, **kwargs)
        tf.saved_model.save(module, str(path), signatures={"serving_default": module.judge})
    else:
        tf.saved_model.save(Callable(size, **kwargs), str(path))
    return str(path)
