"""A training that starts from the weights of another one: what is copied, what starts anew, what is recorded."""

import json

import numpy as np
import pytest
import tensorflow as tf
from support import trained

import vitgan_tf
from vitgan_tf.config import override
from vitgan_tf.errors import UserError
from vitgan_tf.runs.directory import RunDirectory, held_run
from vitgan_tf.trained.exporting import export
from vitgan_tf.training.build import build_gan
from vitgan_tf.training.initialization import Initialization, initialize, read_source, weights_hash
from vitgan_tf.training.plan import execution_plan
from vitgan_tf.training.run import run_experiment

FIELDS = {
    "train.total_kimg": 0.016,
    "train.xla": "off",
    "log.diagnostics_every_kimg": 0.0,
    "train.decay_fraction": 0.0,
}


def _config(**changes):
    return trained.config({**FIELDS, **{name.replace("__", "."): value for name, value in changes.items()}})


def _trained(config, steps=2):
    gan = build_gan(config)
    data = config.data
    images = np.random.RandomState(0).uniform(-1, 1, (8, data.image_size, data.image_size, 1)).astype(np.float32)
    for _ in range(steps):
        gan.train_step(tf.constant(images))
    return gan


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run of two steps, as a directory and as the objects that it was saved from."""
    path = tmp_path_factory.mktemp("source") / "run"
    config = _config()
    gan = _trained(config)
    RunDirectory(str(path), config)
    manager = tf.train.CheckpointManager(gan.checkpoint(), str(path / "checkpoints"), max_to_keep=1)
    manager.save(checkpoint_number=2)
    return str(path), gan


def _read(init, config):
    return read_source(init, config, execution_plan(config))


def _same(first, second):
    return {
        path: bool(np.array_equal(weight, second.get_weight_paths()[path]))
        for path, weight in first.get_weight_paths().items()
    }


@pytest.mark.slow
def test_networks_and_averages_are_the_sources_and_the_rest_is_new(source, caplog):
    path, other = source
    config = _config(train__seed=5)
    with held_run(path):
        read = _read(Initialization(path), config)
    gan = build_gan(config)
    record = initialize(gan, read)
    assert "is still being trained: this run starts from its step 2" in caplog.text
    for name in ("generator", "ema_generator", "discriminator"):
        assert all(_same(getattr(gan, name), getattr(other, name)).values()), name
    assert not all(_same(gan.ema_generator, gan.generator).values())
    for optimizer in (gan.generator_optimizer, gan.discriminator_optimizer):
        assert int(optimizer.iterations) == 0
        assert all(not np.any(variable.numpy()) for variable in optimizer._velocities)
    assert int(gan.step) == 0
    assert record["step"] == 2 and record["path"] == path and record["sha256"] == weights_hash(other.ema_generator)
    assert record["started_anew"] == {name: [] for name in ("generator", "ema_generator", "discriminator")}


@pytest.mark.slow
def test_optimisers_too(source):
    path, other = source
    read = _read(Initialization(path, with_optimizer=True), _config(train__generator_learning_rate=0.5))
    gan = build_gan(_config(train__generator_learning_rate=0.5))
    initialize(gan, read)
    for name in ("generator_optimizer", "discriminator_optimizer"):
        ours, theirs = getattr(gan, name), getattr(other, name)
        assert int(ours.iterations) == int(theirs.iterations) == 2
        for kind in ("_momentums", "_velocities"):
            for mine, given in zip(getattr(ours, kind), getattr(theirs, kind)):
                np.testing.assert_array_equal(mine.numpy(), given.numpy())
        assert any(np.any(variable.numpy()) for variable in ours._velocities)
    assert float(gan.generator_optimizer.learning_rate) == 0.5


@pytest.mark.slow
def test_an_optimiser_of_more_layers_is_not_copied(tmp_path, caplog):
    """All layers of the smaller network fit, but the places of Adam's averages are others."""
    larger = _trained(_config(generator__num_blocks=2), steps=1)
    RunDirectory(str(tmp_path / "larger"), _config(generator__num_blocks=2))
    manager = tf.train.CheckpointManager(larger.checkpoint(), str(tmp_path / "larger" / "checkpoints"), max_to_keep=1)
    manager.save(checkpoint_number=1)
    gan = build_gan(_config())
    record = initialize(gan, _read(Initialization(str(tmp_path / "larger"), with_optimizer=True), _config()))
    assert record["started_anew"]["generator"] == []
    assert int(gan.generator_optimizer.iterations) == 0 and int(gan.discriminator_optimizer.iterations) == 1
    assert "generator: its optimiser starts anew" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("before, after", [("float32", "mixed_float16"), ("mixed_float16", "float32")])
def test_precisions_may_differ(tmp_path, before, after):
    config = _config(train__precision=before)
    gan = build_gan(config)
    RunDirectory(str(tmp_path / "run"), config)
    manager = tf.train.CheckpointManager(gan.checkpoint(), str(tmp_path / "run" / "checkpoints"), max_to_keep=1)
    manager.save(checkpoint_number=1)
    new = _config(train__precision=after, train__seed=5)
    read = _read(Initialization(str(tmp_path / "run"), with_optimizer=True), new)
    other = build_gan(new)
    initialize(other, read)
    assert all(_same(other.generator, gan.generator).values())


@pytest.mark.slow
def test_another_resolution_keeps_all_but_the_patches_of_the_discriminator(source, caplog):
    """The Fourier decoder draws patches of any size; a projection of larger patches has another shape."""
    path, other = source
    config = _config(data__image_size=16, generator__patch_size=8, discriminator__patch_size=8, train__seed=5)
    fresh = build_gan(config)
    gan = build_gan(config)
    record = initialize(gan, _read(Initialization(path, with_optimizer=True), config))
    assert record["started_anew"]["generator"] == record["started_anew"]["ema_generator"] == []
    assert record["started_anew"]["discriminator"] == ["patch_projection"]
    same = _same(gan.discriminator, other.discriminator)
    # The whole layer: its singular value belongs to its new kernel.
    assert [path for path, is_same in same.items() if path.startswith("patch_projection") and is_same] == []
    assert all(is_same for path, is_same in same.items() if not path.startswith("patch_projection"))
    kept = _same(gan.discriminator, fresh.discriminator)
    assert all(is_same for path, is_same in kept.items() if path.startswith("patch_projection"))
    assert int(gan.discriminator_optimizer.iterations) == 0 and int(gan.generator_optimizer.iterations) == 2
    assert "discriminator: 1 of" in caplog.text and "start anew: patch_projection" in caplog.text
    small, large = other.ema_generator, gan.ema_generator
    styles = small.mapping(tf.random.stateless_normal([2, 16], [0, 1]))
    np.testing.assert_allclose(
        large.synthesize(styles), small.synthesize(styles, rendered_size=16), rtol=1e-4, atol=1e-5
    )


def test_an_exported_generator_starts_both_generators(source, tmp_path):
    path, other = source
    export(vitgan_tf.load(path), str(tmp_path / "npz"), "npz")
    config = _config(train__seed=5)
    read = _read(Initialization(str(tmp_path / "npz")), config)
    gan = build_gan(config)
    record = initialize(gan, read)
    for network in (gan.generator, gan.ema_generator):
        for weight, given in zip(network.weights, other.ema_generator.weights):
            np.testing.assert_allclose(weight, given, rtol=1e-3, atol=1e-6)
    assert record["started_anew"]["discriminator"] == list(
        dict.fromkeys(p.rpartition(".")[0] or p for p in gan.discriminator.get_weight_paths())
    )
    export(vitgan_tf.load(path), str(tmp_path / "model"), "saved_model")
    with pytest.raises(UserError, match="holds a generator's functions, not its network: give the run"):
        _read(Initialization(str(tmp_path / "model")), config)
    with pytest.raises(UserError, match="apply only to a run"):
        _read(Initialization(str(tmp_path / "npz"), with_optimizer=True), config)


@pytest.mark.slow
def test_a_run_records_its_source_and_is_resumed_without_it(source, tmp_path):
    path, other = source
    run = tmp_path / "run"
    config = _config(train__seed=5, eval__num_generated=200, log__eval_samples=200)
    run_experiment(config, str(run), init=Initialization(path))
    content = json.loads((run / "config.json").read_text())
    assert (
        content["init_from"]["sha256"] == weights_hash(other.ema_generator) and content["init_from"]["path"] == path
    )
    longer = override(config, {"train.total_kimg": 0.024})
    with pytest.raises(UserError, match=r"holds a run that started from .*, not from elsewhere: choose another"):
        run_experiment(longer, str(run), init=Initialization("elsewhere"))
    run_experiment(longer, str(run))  # the command without the flag goes on too
    assert json.loads((run / "config.json").read_text())["init_from"] == content["init_from"]
    assert vitgan_tf.load(str(run)).step == 3
    # Without a checkpoint, it is a new run, which starts from what it is told.
    for file in (run / "checkpoints").iterdir():
        file.unlink()
    (run / "metrics.jsonl").unlink()
    run_experiment(config, str(run))
    assert "init_from" not in json.loads((run / "config.json").read_text())


@pytest.mark.slow
def test_sources_that_cannot_be(source, tmp_path):
    path, _ = source
    wrong = {
        "its images have 1 channel": (Initialization(path), _config(data__num_channels=3)),
        "no layer of its generator fits": (Initialization(path), _config(generator__architecture="biggan")),
        "add --warmup_kimg=0 --decay_fraction=0": (
            Initialization(path, with_optimizer=True), _config(train__decay_fraction=0.5),
        ),
        "holds no checkpoint '9': available steps: 2": (Initialization(path, "9"), _config()),
        "there is no generator": (Initialization(str(tmp_path / "none")), _config()),
    }  # fmt: skip
    for words, (init, config) in wrong.items():
        with pytest.raises(UserError) as error:
            initialize(build_gan(config), _read(init, config))
        assert words in str(error.value)
