"""What can be chosen by a name: one registry for each kind. Importing this module imports no TensorFlow.

Adding an alternative is one line here, or in a plugin: see CONTRIBUTING.md. An item is given as "module:name" and
imported when it is used. The choices of a configuration field are the names of its registry.
"""

from __future__ import annotations

from typing import Any

from vitgan_tf.layers.registry import ACTIVATIONS, ATTENTIONS, DECODERS, POSITIONS
from vitgan_tf.models.registry import DISCRIMINATORS, GENERATORS, SECTIONS, Network
from vitgan_tf.registry import Registry

__all__ = [
    "ACTIVATIONS",
    "ADVERSARIAL_LOSSES",
    "ATTENTIONS",
    "AUGMENTATIONS",
    "DATASETS",
    "DECODERS",
    "DISCRIMINATORS",
    "EXTRACTORS",
    "GENERATORS",
    "POSITIONS",
    "SCORES",
    "SECTIONS",
    "Network",
    "Registry",
]

# `losses.AdversarialLoss`.
ADVERSARIAL_LOSSES: Registry[Any] = Registry(
    "adversarial loss",
    {
        "non_saturating": "vitgan_tf.losses:NON_SATURATING",
        "hinge": "vitgan_tf.losses:HINGE",
        "wasserstein": "vitgan_tf.losses:WASSERSTEIN",
    },
)
# (images, `augment.Draws`) -> images.
AUGMENTATIONS: Registry[Any] = Registry(
    "augmentation",
    {
        "color": "vitgan_tf.augment:random_color",
        "translation": "vitgan_tf.augment:random_translation",
        "scaling": "vitgan_tf.augment:random_scaling",
        "cutout": "vitgan_tf.augment:random_cutout",
    },
)
# `evaluation.evaluator.Samples` -> a number, or a number and its standard deviation.
SCORES: Registry[Any] = Registry(
    "score",
    {
        "fd": "vitgan_tf.evaluation.evaluator:frechet",
        "is": "vitgan_tf.evaluation.evaluator:inception",
        "kd": "vitgan_tf.evaluation.evaluator:kernel",
        "precision": "vitgan_tf.evaluation.evaluator:precision",
        "recall": "vitgan_tf.evaluation.evaluator:recall",
    },
)
# `evaluation.build.ExtractorRequest` -> `FeatureExtractor`.
EXTRACTORS: Registry[Any] = Registry(
    "extractor",
    {
        "auto": "vitgan_tf.evaluation.build:usual_extractor",
        "tfgan_inception": "vitgan_tf.evaluation.build:tfgan_extractor",
        "keras_inception": "vitgan_tf.evaluation.build:keras_extractor",
        "digits": "vitgan_tf.evaluation.build:digits_classifier",
    },
)
# `data.registry.DatasetSpec` or `data.registry.ArrayDataset`.
DATASETS: Registry[Any] = Registry(
    "data set",
    {
        "digits": "vitgan_tf.data.registry:DIGITS",
        "cifar10": "vitgan_tf.data.registry:CIFAR10",
        "mnist": "vitgan_tf.data.registry:MNIST",
        "celeba64": "vitgan_tf.data.registry:CELEBA",
        "celeba128": "vitgan_tf.data.registry:CELEBA",
        "lsun_bedroom64": "vitgan_tf.data.registry:LSUN_BEDROOM",
        "lsun_bedroom128": "vitgan_tf.data.registry:LSUN_BEDROOM",
        "folder": "vitgan_tf.data.registry:FOLDER",
    },
)
