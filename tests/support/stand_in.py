"""A stand-in for tensorflow-gan's Inception module: its format and signature, with small weights that are fixed."""

import numpy as np
import tensorflow as tf


def weights(feature_dim=2048):
    """Of `tests/reference/scores.py::stand_in_inception`, float32."""
    random = np.random.RandomState(7)
    return {
        "w1": (random.normal(size=(507, feature_dim)) * 0.2).astype(np.float32),
        "b1": random.normal(size=feature_dim).astype(np.float32),
        "w2": (random.normal(size=(feature_dim, 1008)) * 0.1).astype(np.float32),
    }


class Inception(tf.Module):
    """Images (batch, 299, 299, 3) in [-1, 1] -> pool_3 (batch, 1, 1, 2048) and logits (batch, 1008)."""

    def __init__(self, outputs=("pool_3", "logits"), values=None):
        super().__init__()
        self.variables_by_name = {name: tf.Variable(value) for name, value in (values or weights()).items()}
        self._outputs = outputs

    @tf.function(input_signature=[tf.TensorSpec([None, 299, 299, 3], tf.float32)])
    def __call__(self, images):
        values = self.variables_by_name
        pooled = tf.reshape(tf.nn.avg_pool2d(images, 23, 23, "VALID"), [-1, 507])
        features = tf.tanh(pooled @ values["w1"] + values["b1"])
        outputs = {"pool_3": features[:, None, None], "logits": features @ values["w2"]}
        return {name: outputs[name] for name in self._outputs}


def write(path, **options):
    """The module as a folder, as TensorFlow Hub's archive of it unpacks."""
    tf.saved_model.save(Inception(**options), str(path))
    return str(path)
