"""Weights of a generator as NumPy's archive, in 16 bits, beside the configuration of the network that they fill."""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf

from vitgan_tf.errors import UserError, first_line
from vitgan_tf.files import ARCHIVE_ERRORS, atomic_file, check_undamaged
from vitgan_tf.models.build import build_generator
from vitgan_tf.runs.directory import read_run
from vitgan_tf.trained.functions import Functions, of_network

_STEP = "step"


class WeightsFormat:
    """weights.npz: each weight in float16 under its path in the network, and the number of training steps.

    Rounding to float16 (11 significant bits) changes a pixel of the digits by at most 1 of 255. Reading needs the
    config.json in the same folder.
    """

    marker = "weights.npz"

    def write(self, network: tf.keras.Model, folder: str, step: int, batch_size: int | None) -> None:
        weights = {path: weight.numpy().astype(np.float16) for path, weight in network.get_weight_paths().items()}
        infinite = [path for path, weight in weights.items() if not np.isfinite(weight).all()]
        if infinite:
            raise UserError(f"the weight {infinite[0]} is too large for float16: choose another --format")
        with atomic_file(os.path.join(folder, self.marker)) as file:
            np.savez_compressed(file, **weights, **{_STEP: np.int64(step)})

    def read(self, folder: str) -> Functions:
        check_undamaged(folder)
        path = os.path.join(folder, self.marker)
        try:
            config, _ = read_run(folder)
            with np.load(path, allow_pickle=False) as archive:
                content = dict(archive)
            step = int(content.pop(_STEP))
        except (*ARCHIVE_ERRORS, KeyError) as error:
            raise UserError(f"cannot read the weights {path!r}: {first_line(error)}") from error
        network = build_generator(config)
        weights = network.get_weight_paths()
        if {name: value.shape for name, value in content.items()} != {
            name: tuple(weight.shape) for name, weight in weights.items()
        }:
            raise UserError(f"{path!r} holds the weights of another generator than that of its config.json")
        for name, weight in weights.items():
            weight.assign(tf.cast(content[name], weight.dtype))
        return of_network(network, step)


WEIGHTS = WeightsFormat()
