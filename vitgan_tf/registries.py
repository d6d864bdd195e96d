"""The registries that plugins add to: see CONTRIBUTING.md. Importing this module imports no TensorFlow."""

from vitgan_tf.config.choices import (
    ACTIVATIONS,
    ADVERSARIAL_LOSSES,
    ATTENTIONS,
    AUGMENTATIONS,
    DATASETS,
    DECODERS,
    EXPORT_FORMATS,
    EXTRACTORS,
    POSITIONS,
    RESIZES,
    SCORES,
)
from vitgan_tf.config.networks import DISCRIMINATORS, GENERATORS, SECTIONS, Network
from vitgan_tf.config.registry import Registry

__all__ = [
    "ACTIVATIONS",
    "ADVERSARIAL_LOSSES",
    "ATTENTIONS",
    "AUGMENTATIONS",
    "DATASETS",
    "DECODERS",
    "DISCRIMINATORS",
    "EXPORT_FORMATS",
    "EXTRACTORS",
    "GENERATORS",
    "POSITIONS",
    "RESIZES",
    "SCORES",
    "SECTIONS",
    "Network",
    "Registry",
]
