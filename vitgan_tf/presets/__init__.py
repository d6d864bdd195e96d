"""Presets of the paper's experiments, and the rows of its tables."""

from vitgan_tf.presets.datasets import PRESETS, folder
from vitgan_tf.presets.sizes import DEFAULT_SIZE, SIZES
from vitgan_tf.presets.variants import (
    DISCRIMINATORS,
    GENERATORS,
    VARIANTS,
    changes_to_preset,
    network_changes,
    network_names,
    preset,
)

__all__ = [
    "DEFAULT_SIZE",
    "DISCRIMINATORS",
    "GENERATORS",
    "PRESETS",
    "SIZES",
    "VARIANTS",
    "changes_to_preset",
    "folder",
    "network_changes",
    "network_names",
    "preset",
]
