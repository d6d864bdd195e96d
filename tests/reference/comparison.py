"""What the comparisons share: tolerance, the library's weights by path, and directional finite differences.

Nothing of the library is imported: a network is any Keras layer.
"""

import contextlib

import numpy as np
import tensorflow as tf


def assert_close(actual, expected, tolerance=1e-5, **kwargs):
    """Relative to each element, and to the largest magnitude of the expected array for those near zero.

    1e-5 is what float32 may lose against float64 in these sums of tens of terms; tests that need more say why.
    """
    expected = np.asarray(expected)
    assert expected.dtype == np.float64 and np.all(np.isfinite(expected)), "not a reference"
    assert np.shape(actual) == expected.shape, f"{np.shape(actual)} != {expected.shape}"
    scale = np.max(np.abs(expected), initial=0.0)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * scale, **kwargs)


def variables(layer, prefix=""):
    """Every variable of a layer, a Keras model included, by path: "block_0/mlp/expand/kernel".

    A layer has the path of its names, a variable its own name at the end.
    """
    found = {}
    sublayers = list(layer._flatten_layers(recursive=False, include_self=False))
    inner = {id(variable) for sublayer in sublayers for variable in sublayer.weights}
    for variable in layer.weights:
        if id(variable) not in inner:
            found[prefix + variable.name.split("/")[-1].split(":")[0]] = variable
    for sublayer in sublayers:
        found.update(variables(sublayer, f"{prefix}{sublayer.name}/"))
    assert len({id(variable) for variable in found.values()}) == len(layer.weights), "two variables have one path"
    return found


def weights(layer):
    """Every variable's value by path, as the references want it: u as a vector."""
    values = {path: variable.numpy() for path, variable in variables(layer).items()}
    return {path: value[0] if path.split("/")[-1] == "u" else value for path, value in values.items()}


def randomize(layer, scale=0.3):
    """Adds N(0, scale) to every weight, so that what starts at 0 or 1 counts; u and initial_sigma stay.

    Where a multiplier of the learning rate, 0.01 in the mapping network, shrinks the weights, the noise is larger.
    """
    for path, variable in variables(layer).items():
        if path.split("/")[-1] not in ("u", "initial_sigma"):
            shrunk = 0.01 if path.startswith("mapping/") else 1.0
            noise = np.random.normal(size=variable.shape) * scale / shrunk
            variable.assign(variable + noise.astype(variable.dtype.as_numpy_dtype))


def converge_power_iterations(layer):
    """Puts every u at the leading singular vector of its kernel.

    There, and only there, moving v with the kernel changes sigma to the second order alone: the gradient that stops
    at u and v is that of finite differences.
    """
    by_path = variables(layer)
    for path, variable in by_path.items():
        if path.split("/")[-1] == "u":
            kernel = by_path[path[: -len("u")] + "kernel"].numpy()
            variable.assign(np.linalg.svd(kernel)[2][:1])


@contextlib.contextmanager
def float64_layers():
    """Layers that are made inside have weights in float64."""
    before = tf.keras.backend.floatx()
    tf.keras.backend.set_floatx("float64")
    try:
        yield
    finally:
        tf.keras.backend.set_floatx(before)


def unit_directions(values, names):
    """A random direction of length 1 for each named array."""
    directions = {name: np.random.normal(size=np.shape(values[name])) for name in names}
    return {name: direction / np.sqrt(np.sum(direction**2)) for name, direction in directions.items()}


def moved(values, name, step):
    """The dict with a step added to one of its arrays."""
    return {**values, name: values[name] + step}
