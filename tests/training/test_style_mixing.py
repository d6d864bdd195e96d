"""Of some images, the styles from a random place on are those of other latents."""

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.config import ConfigError, override
from vitgan_tf.presets import preset
from vitgan_tf.randomness import OTHER_LATENT, BatchRandom
from vitgan_tf.training.build import build_gan

pytestmark = pytest.mark.slow

NUM_IMAGES = 2000


def _mixed(generator, share):
    gan = build_gan(override(preset("tiny", generator=generator), {"loss.style_mixing": share, "train.xla": "off"}))
    latents = tf.random.stateless_normal([NUM_IMAGES, gan.generator.latent_dim], [1, 2])
    random = BatchRandom(tf.constant([3, 0]), NUM_IMAGES)
    return gan, latents, random, gan.generator.mixed_styles(latents, random, share).numpy()


@pytest.mark.parametrize("generator, num_styles", [("vitgan", 3), ("stylegan2", 4)])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_second_styles_begin_at_every_place_alike(generator, num_styles, share):
    gan, latents, random, styles = _mixed(generator, share)
    own = gan.generator.mapping(latents).numpy()
    others = gan.generator.mapping(random.fork(OTHER_LATENT).normal(latents.shape[1])).numpy()
    is_own = np.all(styles == own[:, None], axis=-1)
    assert styles.shape == (NUM_IMAGES, num_styles, own.shape[-1])
    np.testing.assert_array_equal(np.all(styles == others[:, None], axis=-1), ~is_own)
    cutoffs = is_own.sum(axis=1)
    # One stretch each: no image goes back to its own style, and all begin with it.
    np.testing.assert_array_equal(is_own, np.arange(num_styles) < cutoffs[:, None])
    counts = np.bincount(cutoffs, minlength=num_styles + 1) / NUM_IMAGES
    expected = np.full(num_styles - 1, share / (num_styles - 1))
    tolerance = 4 * np.sqrt(0.25 / NUM_IMAGES)
    assert counts[0] == 0.0
    np.testing.assert_allclose(counts[1:-1], expected, atol=tolerance)
    np.testing.assert_allclose(counts[-1], 1 - share, atol=tolerance)


def test_styles_of_an_image_do_not_depend_on_who_else_is_drawn():
    gan, latents, random, styles = _mixed("stylegan2", 0.7)
    rows = tf.constant([5, 700, 3])
    part = gan.generator.mixed_styles(tf.gather(latents, rows), random.rows(rows), 0.7).numpy()
    np.testing.assert_allclose(part, styles[rows.numpy()], rtol=1e-5, atol=1e-6)


def test_a_step_draws_with_them():
    """Both networks see images of mixed styles: those of the same latents without mixing are others."""
    configs = [override(preset("tiny"), {"loss.style_mixing": share, "train.xla": "off"}) for share in (0.0, 1.0)]
    plain, mixed = (build_gan(config) for config in configs)
    random = BatchRandom(plain._seeds_of_step()[0], 4)
    latents = random.normal(16)
    drawn = [gan._generate(random).numpy() for gan in (plain, mixed)]
    np.testing.assert_allclose(drawn[0], plain.generator(latents).numpy(), rtol=1e-4, atol=1e-5)
    expected = mixed.generator.synthesize(mixed.generator.mixed_styles(latents, random, 1.0)).numpy()
    np.testing.assert_allclose(drawn[1], expected, rtol=1e-4, atol=1e-5)
    assert np.abs(drawn[1] - drawn[0]).max() > 0.1


@pytest.mark.parametrize("injection", ["add", "prepend"])
def test_a_generator_with_one_place_for_styles_is_refused(injection):
    with pytest.raises(
        ConfigError, match=r"loss\.style_mixing needs a generator that takes styles in several places"
    ):
        override(preset("tiny"), {"loss.style_mixing": 0.5, "generator.style_injection": injection})
