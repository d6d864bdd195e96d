"""Every row of the paper's tables, and every field that has alternatives, trains, is saved, restored and exported."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from support import choices, small

from vitgan_tf.config import field_paths, override, section_types
from vitgan_tf.data.loading import load_images
from vitgan_tf.data.pipeline import training_dataset
from vitgan_tf.models.build import build_generator
from vitgan_tf.presets import DISCRIMINATORS, GENERATORS, VARIANTS, preset
from vitgan_tf.trained.saved_model import export_generator
from vitgan_tf.training.build import build_gan

pytestmark = pytest.mark.slow


def _cases():
    """Each configuration once: some rows of the two tables are the same."""
    # Augmentation and overlap change with each regulariser as they do with one.
    names = [name for name in VARIANTS if "_no_" not in name or name.startswith("d_sn_no_")]
    configs = [(name, preset("tiny", name)) for name in names]
    pairs = itertools.product(GENERATORS, DISCRIMINATORS)
    configs += [(f"{g} with {d}", preset("tiny", generator=g, discriminator=d)) for g, d in pairs]
    configs += choices.configs_of_fields().items()
    unique = {}
    for name, config in configs:
        unique.setdefault(repr(config), (name, config))
    return [pytest.param(config, id=name) for name, config in unique.values()]


CASES = _cases()
# One block, and steps without tracing, which would take most of the time: tests/training/test_gan.py has graphs.
SMALL = {**small.FIELDS, "train.xla": "off", "train.discriminator_steps": 1}


def _batches(config):
    images, train = load_images(config.data), config.train
    return training_dataset(images, train.batch_size, seed=0, batches_per_step=train.discriminator_steps)


@pytest.mark.parametrize("config", CASES)
def test_trains_two_finite_steps_saves_and_restores(config, tmp_path):
    config = override(config, SMALL)
    gan = build_gan(config)
    gan.run_eagerly = True
    before = [variable.numpy() for variable in gan.generator.trainable_variables]
    history = gan.fit(_batches(config), steps_per_epoch=2, verbose=0).history
    assert all(np.isfinite(values[0]) for values in history.values()), history
    for variable, value in zip(gan.generator.trainable_variables, before):
        assert np.isfinite(variable.numpy()).all() and np.any(variable.numpy() != value), variable.name
    saved = [(variable, variable.numpy()) for network in _networks(gan) for variable in network.variables]
    path = gan.checkpoint().write(str(tmp_path / "checkpoint"))
    for variable, _ in saved:
        variable.assign(tf.zeros_like(variable))
    gan.checkpoint().restore(path).assert_consumed()
    for variable, value in saved:
        np.testing.assert_array_equal(variable.numpy(), value)


def _networks(gan):
    return gan.generator, gan.discriminator, gan.ema_generator


def _generators():
    """Cases in which every choice of a generator occurs."""
    chosen, seen = [], set()
    for case in CASES:
        choices_of_case = {item for item in vars(case.values[0].generator).items() if isinstance(item[1], str)}
        if choices_of_case - seen:
            chosen.append(case)
            seen |= choices_of_case
    return chosen


@pytest.mark.parametrize("config", _generators())
def test_every_generator_is_exported(config, tmp_path):
    generator = build_generator(override(config, SMALL))
    latents = tf.random.normal((2, generator.latent_dim))
    export_generator(generator, str(tmp_path / "model"))
    model = tf.saved_model.load(str(tmp_path / "model"))
    drawn = model.synthesize(latents)["images"].numpy()
    np.testing.assert_allclose(drawn, np.clip(generator(latents).numpy(), -1, 1), rtol=1e-4, atol=1e-5)


def test_every_choice_of_a_network_or_loss_is_among_the_cases():
    assert choices.missing(case.values[0] for case in CASES) == []


READ_IN_STEPS = ("generator", "discriminator", "loss", "augment", "stylegan2", "resnet", "transgan", "biggan")


def test_every_field_of_a_network_loss_or_augmentation_is_read(monkeypatch):
    """By networks that are built and two steps, not by the checks of the configuration."""
    # R1 and path lengths, cheap as they are rare, and LeCam are in none of the rows together with the baselines.
    rows = [preset("tiny", row) for row in ("vitgan", "vanilla_vit", "transgan", "biggan", "vitgan_contrad")]
    fields = {"loss.lecam_lambda": 1.0, "loss.path_length_weight": 1.0, "loss.style_mixing": 0.5}
    configs = [*rows, override(preset("tiny", "stylegan2"), fields)]
    configs.append(preset("tiny", discriminator="resnet"))
    sections, read = section_types(), set()

    def record(name, section):
        def getter(self, attribute):
            read.add(f"{name}.{attribute}")
            return object.__getattribute__(self, attribute)

        monkeypatch.setattr(section, "__getattribute__", getter)

    for name in READ_IN_STEPS:
        record(name, sections[name])
    for config in configs:
        gan = build_gan(config)
        gan.run_eagerly = True
        gan.fit(_batches(config), steps_per_epoch=1, verbose=0)
    expected = {path for path, _, _ in field_paths() if path.split(".")[0] in READ_IN_STEPS}
    assert sorted(expected - read) == []
