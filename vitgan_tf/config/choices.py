"""Registries of everything that a configuration selects by name, except networks.

Items are "module:name" strings that are imported on access, so that this module does not import TensorFlow. The
choices of a configuration field are the names in its registry. The registries of networks are in `networks`;
`vitgan_tf.registries` exports all registries.
"""

from __future__ import annotations

from typing import Any

from vitgan_tf.config.registry import Registry

STYLE_INJECTIONS = ("modulate", "add", "prepend")
POOLINGS = ("class_token", "mean")
LSUN_SCENES = (
    *("bedroom", "bridge", "church_outdoor", "classroom", "conference_room", "dining_room", "kitchen"),
    *("living_room", "restaurant", "tower"),
)
_LSUN_OBJECTS = (
    *("airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining_table", "dog"),
    *("horse", "motorbike", "person", "potted_plant", "sheep", "sofa", "train", "tv-monitor"),
)
LSUN_CATEGORIES = LSUN_SCENES + _LSUN_OBJECTS
SPLITS = ("training", "evaluation")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
XLA_MODES = ("auto", "off", "kernels", "full")
LECAM_FORMS = ("paper", "authors")
NOISES = ("per_image", "fixed")
# Spaces of a walk: on a sphere between latents, or straight between styles.
WALK_SPACES = ("z", "w")
# w+: a style for each place; w: one style for all of them.
PROJECTION_SPACES = ("w+", "w")
NAN_POLICIES = ("stop", "skip", "rollback")
# Kernel normalisations of a linear layer: see `layers.spectral.ISNDense`.
NORMALIZATIONS = ("isn", "sn", "none")

ATTENTIONS: Registry[Any] = Registry(
    "attention",
    {
        "dot_product": "vitgan_tf.layers.attention:MultiHeadAttention",
        "l2": "vitgan_tf.layers.attention:L2MultiHeadAttention",
    },
)
POSITIONS: Registry[Any] = Registry(
    "positional embedding",
    {
        "fourier": "vitgan_tf.layers.coordinates:FourierEmbedding",
        "learned": "vitgan_tf.layers.coordinates:LearnedEmbedding",
    },
)
DECODERS: Registry[Any] = Registry(
    "decoder",
    {
        "fourier": "vitgan_tf.layers.decoders:FourierPatchDecoder",
        "linear": "vitgan_tf.layers.decoders:LinearPatchDecoder",
        "conv": "vitgan_tf.layers.decoders:ConvPatchDecoder",
    },
)
ACTIVATIONS: Registry[Any] = Registry(
    "activation",
    {
        "gelu": "vitgan_tf.layers.ops:gelu",
        "relu": "vitgan_tf.layers.ops:relu",
        "silu": "vitgan_tf.layers.ops:silu",
    },
)
# Items: `losses.AdversarialLoss`.
ADVERSARIAL_LOSSES: Registry[Any] = Registry(
    "adversarial loss",
    {
        "non_saturating": "vitgan_tf.losses:NON_SATURATING",
        "hinge": "vitgan_tf.losses:HINGE",
        "wasserstein": "vitgan_tf.losses:WASSERSTEIN",
        "relativistic": "vitgan_tf.losses:RELATIVISTIC",
    },
)
# Items: (images, `augment.Draws`) -> images.
AUGMENTATIONS: Registry[Any] = Registry(
    "augmentation",
    {
        "color": "vitgan_tf.augment:random_color",
        "translation": "vitgan_tf.augment:random_translation",
        "scaling": "vitgan_tf.augment:random_scaling",
        "cutout": "vitgan_tf.augment:random_cutout",
    },
)
# Items: `evaluation.samples.Score`, or (`evaluation.samples.Samples`) -> a score of the features.
SCORES: Registry[Any] = Registry(
    "score",
    {
        "fd": "vitgan_tf.evaluation.samples:FRECHET",
        "is": "vitgan_tf.evaluation.samples:INCEPTION",
        "kd": "vitgan_tf.evaluation.samples:KERNEL",
        "precision": "vitgan_tf.evaluation.samples:PRECISION",
        "recall": "vitgan_tf.evaluation.samples:RECALL",
        "density": "vitgan_tf.evaluation.samples:DENSITY",
        "coverage": "vitgan_tf.evaluation.samples:COVERAGE",
        "authenticity": "vitgan_tf.evaluation.samples:AUTHENTICITY",
        "swd": "vitgan_tf.evaluation.samples:SLICED_WASSERSTEIN",
    },
)
# Items: `evaluation.build.ExtractorRequest` -> `FeatureExtractor`, or None for no network.
EXTRACTORS: Registry[Any] = Registry(
    "extractor",
    {
        "auto": "vitgan_tf.evaluation.build:usual_extractor",
        "tfgan_inception": "vitgan_tf.evaluation.build:tfgan_extractor",
        "keras_inception": "vitgan_tf.evaluation.build:keras_extractor",
        "digits": "vitgan_tf.evaluation.build:digits_extractor",
        "classifier": "vitgan_tf.evaluation.build:labels_extractor",
        "none": "vitgan_tf.evaluation.build:no_extractor",
        "network": "vitgan_tf.evaluation.network:network_extractor",
    },
)
# Items: `evaluation.resizing.Resizer`.
RESIZES: Registry[Any] = Registry(
    "resizing",
    {
        "tf1": "vitgan_tf.evaluation.resizing:TF1",
        "bilinear": "vitgan_tf.evaluation.resizing:BILINEAR",
        "clean": "vitgan_tf.evaluation.resizing:CLEAN",
        "none": "vitgan_tf.evaluation.resizing:NONE",
    },
)
# Items: `data.registry.DatasetSpec` or `data.registry.ArrayDataset`.
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
        "emoji": "vitgan_tf.data.registry:EMOJI",
        "folder": "vitgan_tf.data.registry:FOLDER",
    },
)
# Items: `trained.functions.Format`.
EXPORT_FORMATS: Registry[Any] = Registry(
    "export format",
    {
        "saved_model": "vitgan_tf.trained.saved_model:SAVED_MODEL",
        "npz": "vitgan_tf.trained.weights:WEIGHTS",
        "onnx": "vitgan_tf.trained.portable:ONNX",
        "tflite": "vitgan_tf.trained.portable:TFLITE",
    },
)
