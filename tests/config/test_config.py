"""Configuration: checks, overrides, round trip; every field is read somewhere."""

import dataclasses
import itertools
import json

import pytest

from vitgan_tf.config import (
    AugmentConfig,
    ConfigError,
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    TrainConfig,
    as_dict,
    differences,
    field_paths,
    from_dict,
    override,
    short_names,
    unread_fields,
)
from vitgan_tf.errors import did_you_mean
from vitgan_tf.presets import DISCRIMINATORS, GENERATORS, PRESETS, VARIANTS, preset


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name):
    config = preset(name)
    assert from_dict(json.loads(json.dumps(as_dict(config)))) == config
    assert config.total_steps >= 1


def test_images_are_mirrored_where_the_literature_does_so():
    mirrored = {name for name in PRESETS if preset(name).data.flip}
    assert mirrored == {"cifar10", "celeba64", "celeba128"}


@pytest.mark.parametrize(
    "size, blocks, generator_patch, discriminator_patch, overlap",
    [(8, 4, 1, 1, 0), (16, 4, 2, 2, 1), (32, 4, 4, 4, 2), (64, 6, 8, 8, 4), (128, 6, 16, 8, 4), (256, 6, 32, 8, 4)],
)
def test_networks_follow_the_resolution_of_a_folder(size, blocks, generator_patch, discriminator_patch, overlap):
    config = preset("folder", image_size=size)
    assert config.data.image_size == size
    assert config.generator.num_blocks == config.discriminator.num_blocks == blocks
    assert config.generator.patch_size == generator_patch
    assert (config.discriminator.patch_size, config.discriminator.patch_overlap) == (discriminator_patch, overlap)
    for name, twin in ((32, "cifar10"), (64, "celeba64"), (128, "celeba128")):
        if size == name:
            assert config.generator == preset(twin).generator and config.discriminator == preset(twin).discriminator


@pytest.mark.parametrize("size", [0, 4, 50, -8])
def test_resolutions_that_are_not_eight_patches_are_refused(size):
    with pytest.raises(ConfigError, match=f"--resolution must be a multiple of 8, .*got {size}"):
        preset("folder", image_size=size)


def test_booleans_are_not_numbers():
    assert not DataConfig("folder", 64, 3, flip=False).flip
    for wrong in (1, "yes", None):
        with pytest.raises(ConfigError, match=r"data\.flip must be of type bool"):
            DataConfig("folder", 64, 3, flip=wrong)


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_survive_json_and_differ_from_each_other(variant):
    config = preset("cifar10", variant)
    assert from_dict(json.loads(json.dumps(as_dict(config)))) == config
    same = [name for name in VARIANTS if preset("cifar10", name) == config]
    assert set(same) in ({"vitgan", "g_modulate_fourier", "d_isn"}, {variant})


def test_any_generator_goes_with_any_discriminator():
    for name in PRESETS:
        pairs = [
            preset(name, generator=generator, discriminator=discriminator)
            for generator in GENERATORS
            for discriminator in DISCRIMINATORS
        ]
        assert len({repr(config) for config in pairs}) == 30
        assert pairs[0] == preset(name) and preset(name, "vanilla_vit") in pairs
    pair = preset("cifar10", generator="stylegan2", discriminator="stylegan2")
    assert set(differences(preset("cifar10"), pair)) == {
        "generator.architecture: vit -> stylegan2",
        "discriminator.architecture: vit -> stylegan2",
        "train.ema_halflife_kimg: 10.0 -> 1000.0",
        "loss.r1_gamma: 0.0 -> 0.4",
        "loss.style_mixing: 0.0 -> 0.9",
    }
    for arguments in ({"variant": "d_r1"}, {"variant": "vanilla_vit"}):
        with pytest.raises(ConfigError, match="sets both networks: leave out generator and discriminator"):
            preset("tiny", generator="vit", **arguments)
    with pytest.raises(ConfigError, match="unknown discriminator 'resnets'; did you mean 'resnet'"):
        preset("tiny", discriminator="resnets")


@pytest.mark.parametrize("name", PRESETS)
def test_sizes_are_half_and_twice_the_widths_of_all_networks(name):
    base = preset(name)
    for size, factor in (("small", 0.5), ("base", 1), ("large", 2)):
        for generator, discriminator in itertools.product(GENERATORS, DISCRIMINATORS):
            preset(name, generator=generator, discriminator=discriminator, size=size)  # no network is too small
        changed = preset(name, size=size)
        for path in ("generator.embed_dim", "generator.mlp_dim", "discriminator.embed_dim", "stylegan2.channel_max"):
            assert changed.value(path) == base.value(path) * factor, path
        assert changed.generator.num_heads == max(1, int(base.generator.num_heads * factor))
        unlike = [line.split(".")[0] for line in differences(base, changed)]
        assert set(unlike) <= {"generator", "discriminator", "stylegan2", "resnet", "transgan", "biggan"}
    with pytest.raises(ConfigError, match=r"unknown size 'huge'"):
        preset(name, size="huge")


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_convolutional_networks_need_a_power_of_2(network):
    with pytest.raises(ConfigError, match=f"power of 2 of at least 8 with {network}.architecture=stylegan2, got 24"):
        override(preset("cifar10", **{network: "stylegan2"}), {"data.image_size": 24})
    # What the ViT needs is none of the convolutional one's business.
    fields = {"generator.patch_size": 5, "discriminator.patch_size": 5}
    both = preset("cifar10", generator="stylegan2", discriminator="resnet")
    assert override(both, fields).generator.patch_size == 5
    with pytest.raises(ConfigError, match=r"channel_base must be at least data\.image_size, got 31 and 32"):
        override(both, {"stylegan2.channel_base": 31})


def test_variants_change_what_the_rows_of_the_paper_say():
    method = preset("celeba64")
    assert set(differences(method, preset("celeba64", "vanilla_vit"))) == {
        "generator.style_injection: modulate -> add",
        "generator.decoder: fourier -> linear",
        "discriminator.attention: l2 -> dot_product",
        "discriminator.normalization: isn -> none",
        "discriminator.patch_overlap: 4 -> 0",
        "loss.r1_gamma: 0.0 -> 10.0",
    }
    assert set(differences(method, preset("celeba64", "d_sn_no_augmentation_no_overlap"))) == {
        "discriminator.normalization: isn -> sn",
        "discriminator.patch_overlap: 4 -> 0",
        "augment.policy: ('color', 'translation', 'scaling', 'cutout') -> ()",
        "loss.bcr_lambda_real: 10.0 -> 0.0",
        "loss.bcr_lambda_fake: 10.0 -> 0.0",
    }
    assert differences(method, preset("celeba64", "g_prepend_fourier")) == [
        "generator.style_injection: modulate -> prepend"
    ]
    # What their authors have, of other kernels: rates are those of their kernels' standard deviations.
    assert set(differences(method, preset("celeba64", discriminator="resnet"))) == {
        "discriminator.architecture: vit -> resnet",
        "loss.adversarial: non_saturating -> hinge",
        "train.discriminator_steps: 1 -> 5",
        "train.discriminator_learning_rate: 0.002 -> 0.0048",  # 2e-4 / (sqrt(2) Glorot of 3 x 3 x 128)
        "train.adam_beta2: 0.99 -> 0.9",
        "loss.bcr_lambda_real: 10.0 -> 0.0",
        "loss.bcr_lambda_fake: 10.0 -> 0.0",
    }
    assert set(differences(preset("cifar10"), preset("cifar10", "ucsd"))) == {
        "loss.bcr_lambda_real: 10.0 -> 1.0",
        "loss.bcr_lambda_fake: 10.0 -> 1.0",
        "loss.r1_gamma: 0.0 -> 0.4",
        "loss.r1_every_steps: 16 -> 1",
        "train.batch_size: 128 -> 64",
        "train.generator_learning_rate: 0.002 -> 0.001",
        "train.discriminator_learning_rate: 0.002 -> 0.001",
        "train.warmup_kimg: 0.0 -> 192.0",
        "train.ema_halflife_kimg: 10.0 -> 1000.0",
    }
    # Every row of the paper's two ablations.
    for injection in ("add", "prepend", "modulate"):
        for decoder in ("linear", "fourier"):
            assert f"g_{injection}_{decoder}" in VARIANTS
    for regularizer in ("r1", "sn", "isn"):
        for suffix in ("", "_no_augmentation", "_no_overlap", "_no_augmentation_no_overlap"):
            assert f"d_{regularizer}{suffix}" in VARIANTS


@pytest.mark.parametrize(
    "section, values, message",
    [
        (GeneratorConfig, {"embed_dim": 100, "num_heads": 3}, "generator.embed_dim must be a multiple of generator"),
        (DiscriminatorConfig, {"embed_dim": 100}, "got 100 and 6"),
        (GeneratorConfig, {"num_blocks": 0}, "generator.num_blocks must be at least 1, got 0"),
        (GeneratorConfig, {"num_blocks": 2.0}, "generator.num_blocks must be of type int, got 2.0"),
        (GeneratorConfig, {"num_blocks": True}, "must be of type int, got True"),
        (GeneratorConfig, {"activation": "gelo"}, "got 'gelo'; did you mean 'gelu'"),
        (DiscriminatorConfig, {"patch_overlap": -1}, "discriminator.patch_overlap must be at least 0, got -1"),
        (DataConfig, {"dataset": "x", "image_size": 8, "num_channels": 2}, "must be one of 1, 3, got 2"),
        (
            GeneratorConfig,
            {"decoder": "conv", "patch_size": 6},
            "generator.patch_size must be a power of 2, got 6",
        ),
        (GeneratorConfig, {"decoder": "convolution"}, "must be one of fourier, linear, conv, got 'convolution'"),
        (LossConfig, {"adversarial": "hing"}, "got 'hing'; did you mean 'hinge'"),
        (LossConfig, {"r1_every_steps": 0}, "loss.r1_every_steps must be at least 1, got 0"),
        (LossConfig, {"lecam_decay": 1.0}, "loss.lecam_decay must be below 1.0, got 1.0"),
        (AugmentConfig, {"probability": 1.5}, "augment.probability must be at most 1.0, got 1.5"),
        (AugmentConfig, {"policy": "color"}, "augment.policy must be of type list of str, got 'color'"),
        (AugmentConfig, {"policy": ("colour",)}, "did you mean 'color'"),
        (TrainConfig, {"total_kimg": float("nan")}, "train.total_kimg must be a finite number, got nan"),
        (TrainConfig, {"total_kimg": float("inf")}, "must be a finite number"),
        (TrainConfig, {"total_kimg": 0}, "must be above 0.0, got 0.0"),
        (TrainConfig, {"total_kimg": 1, "adam_beta1": 1.0}, "train.adam_beta1 must be below 1.0, got 1.0"),
        (TrainConfig, {"total_kimg": 1, "batch_size": 0}, "train.batch_size must be at least 1, got 0"),
    ],
)
def test_refuses_with_field_and_value(section, values, message):
    with pytest.raises(ConfigError) as error:
        section(**values)
    assert message in str(error.value)


def test_whole_numbers_become_floats():
    assert isinstance(TrainConfig(total_kimg=3).total_kimg, float)


def test_image_must_be_whole_patches():
    for network in ("generator", "discriminator"):
        with pytest.raises(ConfigError, match=f"data.image_size must be a multiple of {network}.patch_size"):
            override(preset("tiny"), {f"{network}.patch_size": 3})


def test_override_changes_only_what_it_names():
    old = preset("cifar10")
    new = override(old, {"train.batch_size": 7, "augment.policy": ["cutout"], "train.seed": 3})
    assert set(differences(old, new)) == {
        "augment.policy: ('color', 'translation', 'scaling', 'cutout') -> ('cutout',)",
        "train.batch_size: 128 -> 7",
        "train.seed: 0 -> 3",
    }
    assert old == preset("cifar10")


def test_wrong_names_are_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown configuration field 'generator\.width'"):
        override(preset("tiny"), {"generator.width": 3})
    with pytest.raises(ConfigError, match=r"did you mean 'train\.batch_size'"):
        override(preset("tiny"), {"train.batchsize": 3})
    with pytest.raises(ConfigError, match="unknown dataset 'celeba'; did you mean 'celeba64'"):
        preset("celeba")
    with pytest.raises(ConfigError, match="unknown variant 'vanila_vit'; did you mean 'vanilla_vit'"):
        preset("celeba64", "vanila_vit")
    assert did_you_mean("zzzzzz", PRESETS) == ""


def test_a_dictionary_of_another_version_is_refused():
    values = as_dict(preset("tiny"))
    values["generator"]["depth"] = 3
    with pytest.raises(ConfigError, match="not a configuration of this version"):
        from_dict(values)
    with pytest.raises(ConfigError, match="not a configuration of this version"):
        from_dict({"generators": {}})


def test_sections_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset("tiny").train.batch_size = 3


def test_steps_reach_the_asked_number_of_images():
    config = override(preset("tiny"), {"train.batch_size": 64})
    assert config.kimg_to_steps(1.0) == 16  # 15.6 rounded up
    assert config.kimg_to_steps(0.64) == 10
    assert config.kimg_to_steps(0.001) == 1


def test_every_field_has_a_sentence():
    for path, field, _ in field_paths():
        assert len(field.metadata["help"]) > 5, path


def test_fields_of_the_baselines_leave_the_short_names_of_the_others():
    """--latent_dim and --width are those of the ViT and the ResNet."""
    names = short_names()
    assert (names["latent_dim"], names["width"]) == ("generator.latent_dim", "resnet.width")
    assert names["batch_size"] == "train.batch_size" and "num_blocks" not in names and "num_heads" not in names


def test_old_spellings_are_read():
    """On the command line, and in the config.json of earlier runs."""
    new = preset("tiny", generator="vanilla_vit", discriminator="vanilla_vit")
    assert preset("tiny", generator="vit", discriminator="vit") == new == preset("tiny", "vanilla_vit")
    values = as_dict(override(new, {"transgan.latent_dim": 7}))
    values["transgan"]["z_dim"] = values["transgan"].pop("latent_dim")
    assert from_dict(values).transgan.latent_dim == 7


def test_fields_that_no_chosen_network_reads():
    unread = unread_fields(preset("tiny", discriminator="resnet"))
    assert "discriminator.num_blocks" in unread and "transgan.num_blocks" in unread
    assert not {"resnet.width", "generator.num_blocks", "discriminator.architecture"} & set(unread)
    unread = unread_fields(preset("tiny", "stylegan2"))
    assert "generator.num_blocks" in unread and "generator.mapping_layers" not in unread
