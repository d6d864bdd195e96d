"""A plugin as a user would write it: an alternative of each kind, from a file outside the package."""

import dataclasses
import os

import numpy as np
import tensorflow as tf

from vitgan_tf import registries
from vitgan_tf.config import DataConfig, override
from vitgan_tf.config.fields import Section, field
from vitgan_tf.data.registry import ArrayDataset
from vitgan_tf.evaluation.extractors import FeatureExtractor
from vitgan_tf.evaluation.resizing import Resizer
from vitgan_tf.losses import AdversarialLoss
from vitgan_tf.models.build import build_generator
from vitgan_tf.models.style_generator import StyleGenerator
from vitgan_tf.presets import PRESETS, preset
from vitgan_tf.runs.directory import read_run
from vitgan_tf.trained.functions import of_network


@dataclasses.dataclass(frozen=True)
class ToyConfig(Section):
    """Sizes of the toy generator."""

    latent_dim: int = field("size of the latent z", default=8, minimum=1)
    width: int = field("units of the hidden layer", default=32, minimum=1)


class ToyGenerator(StyleGenerator):
    """An MLP from z to the pixels."""

    num_styles = 1
    renders_at_any_scale = False

    def __init__(self, image_size, num_channels, latent_dim, width, **kwargs):
        super().__init__(**kwargs)
        self.image_size, self.num_channels, self.latent_dim = image_size, num_channels, latent_dim
        self.mapping = tf.keras.layers.Identity(name="mapping")
        self.hidden = tf.keras.layers.Dense(width, "relu", name="hidden")
        self.pixels = tf.keras.layers.Dense(image_size**2 * num_channels, "tanh", name="pixels")

    def build(self, input_shape):
        self.hidden.build(input_shape)
        self.pixels.build((None, self.hidden.units))
        self.built = True

    def synthesize(self, styles, random=None):
        pixels = self.pixels(self.hidden(self.styles_by_place(styles)[:, 0]))
        return tf.reshape(pixels, [-1, self.image_size, self.image_size, self.num_channels])


registries.SECTIONS.register("toy", ToyConfig)
registries.GENERATORS.register(
    "toy",
    registries.Network(
        ToyGenerator,
        {"latent_dim": "toy.latent_dim", "width": "toy.width"},
        takes_several_styles=lambda config: False,
    ),
)


def relativistic_discriminator_loss(real_logits, fake_logits):
    """L_D = mean (D(x) - D(G(z)) - 1)^2      (relativistic least squares, Jolicoeur-Martineau 2020)"""
    return tf.reduce_mean((real_logits - fake_logits - 1.0) ** 2)


def relativistic_generator_loss(real_logits, fake_logits):
    """L_G = mean (D(G(z)) - D(x) - 1)^2      (relativistic least squares, Jolicoeur-Martineau 2020)"""
    return tf.reduce_mean((fake_logits - real_logits - 1.0) ** 2)


registries.ADVERSARIAL_LOSSES.register(
    "relativistic_squares",
    AdversarialLoss(relativistic_discriminator_loss, relativistic_generator_loss, compares=True),
)
registries.AUGMENTATIONS.register("negative", lambda images, draws: images * draws.uniform(-1.0, 1.0, neutral=1.0))


def checkerboards(config: DataConfig, split: str) -> np.ndarray:
    """Squares of random sizes."""
    rows, sizes = np.arange(config.image_size), np.random.RandomState(0).randint(1, 5, size=[64, 1, 1])
    boards = (rows[:, None] // sizes + rows // sizes) % 2 * 255
    return np.repeat(boards[..., None], config.num_channels, axis=-1).astype(np.uint8)


def checkerboards_preset():
    """Checkerboards, 8 x 8, made in memory."""
    return override(preset("tiny"), {"data.dataset": "checkerboards", "eval.extractor": "pixels"})


registries.DATASETS.register("checkerboards", ArrayDataset(checkerboards))
PRESETS.register("checkerboards", checkerboards_preset)


def pixel_extractor(request):
    """The pixels themselves."""

    resizer = registries.RESIZES[request.settings.resize or "none"]

    def function(images):
        pixels = tf.reshape(resizer.function(images, images.shape[1]), [images.shape[0], -1])
        return pixels, pixels

    return FeatureExtractor("pixels", function, "none", resizer.words, num_channels=1)


class KerasWeights:
    """Keras' own file of weights."""

    marker = "toy.weights.h5"

    def write(self, network, folder, step, batch_size):
        network.save_weights(os.path.join(folder, self.marker))

    def read(self, folder):
        network = build_generator(read_run(folder)[0])
        network.load_weights(os.path.join(folder, self.marker))
        return of_network(network)


registries.EXPORT_FORMATS.register("keras", KerasWeights())
registries.RESIZES.register("mirrored", Resizer(lambda images, size: images[:, :, ::-1], "mirrored"))
registries.EXTRACTORS.register("pixels", pixel_extractor)
registries.SCORES.register("brightness", lambda samples: float(np.mean(samples.features)))
