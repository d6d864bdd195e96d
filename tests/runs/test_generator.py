"""The best checkpoint is kept, and generators come out of checkpoints as they went in."""

import json
import math
import pathlib
import resource

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.config import override
from vitgan_tf.errors import UserError
from vitgan_tf.models.build import build_generator
from vitgan_tf.presets import preset
from vitgan_tf.runs import generator
from vitgan_tf.runs.best_checkpoint import BestCheckpoint
from vitgan_tf.runs.directory import RunDirectory
from vitgan_tf.runs.generator import load_generator
from vitgan_tf.training.build import build_gan


class _Protocol:
    def __init__(self, num_generated=10):
        self._num_generated = num_generated

    def as_dict(self):
        return {"num_generated": self._num_generated, "reasons": ["few"]}


def _best(path, value):
    return BestCheckpoint(tf.train.Checkpoint(value=value), str(path))


def _kept(path):
    """Step and value of the one checkpoint that is there."""
    assert len(list(path.glob("ckpt-*.index"))) == 1
    latest = tf.train.latest_checkpoint(str(path))
    return int(latest.rsplit("-", 1)[1]), tf.train.load_variable(latest, "value/.ATTRIBUTES/VARIABLE_VALUE")


def test_the_state_with_the_least_distance_is_kept(tmp_path):
    value = tf.Variable(0.0)
    best = _best(tmp_path, value)
    kept = []
    for step, distance in enumerate([9.0, 5.0, 7.0, 5.0, 4.5, math.nan, 8.0]):
        value.assign(step * 10.0)
        best.offer(step, distance, _Protocol())
        kept.append(_kept(tmp_path))
    assert kept == [(0, 0.0), (1, 10.0), (1, 10.0), (1, 10.0), (4, 40.0), (4, 40.0), (4, 40.0)]
    assert json.loads((tmp_path / "best.json").read_text()) == {
        "step": 4,
        "distance": 4.5,
        "protocol": _Protocol().as_dict(),
    }


def test_a_run_that_goes_on_knows_the_best_of_before(tmp_path):
    _best(tmp_path, tf.Variable(1.0)).offer(3, 5.0, _Protocol())
    again = _best(tmp_path, tf.Variable(2.0))
    again.offer(4, 6.0, _Protocol())
    assert _kept(tmp_path) == (3, 1.0)
    again.offer(5, 4.0, _Protocol())
    assert _kept(tmp_path) == (5, 2.0)


@pytest.mark.parametrize("content", [None, "", "{", "[]", "3", '{"distance": 1.0}', '{"distance": NaN}'])
def test_a_state_of_another_protocol_or_with_a_damaged_record_is_put_aside(tmp_path, caplog, content):
    path = tmp_path / "best"
    _best(path, tf.Variable(1.0)).offer(3, 5.0, _Protocol())
    if content is not None:
        (path / "best.json").write_text(content)
    protocol = _Protocol(num_generated=20 if content is None else 10)
    best = _best(path, tf.Variable(2.0))
    with caplog.at_level("WARNING", logger="absl"):
        best.offer(4, 6.0, protocol)
    assert _kept(path) == (4, 2.0)
    assert _kept(tmp_path / "best_until_step_4") == (3, 1.0)
    assert "is now in" in caplog.text and len(caplog.records) == 1
    best.offer(5, 5.5, protocol)
    assert _kept(path) == (5, 2.0)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["best", "best_until_step_4"]


@pytest.mark.parametrize("distance", [math.nan, math.inf, -math.inf])
def test_a_record_without_a_distance_does_not_compare(tmp_path, distance):
    path = tmp_path / "best"
    _best(path, tf.Variable(1.0)).offer(3, 5.0, _Protocol())
    record = {"step": 3, "distance": distance, "protocol": _Protocol().as_dict()}
    (path / "best.json").write_text(json.dumps(record))
    _best(path, tf.Variable(2.0)).offer(4, 6.0, _Protocol())
    assert _kept(path) == (4, 2.0) and _kept(tmp_path / "best_until_step_4") == (3, 1.0)


def test_what_was_put_aside_at_a_step_gives_way_to_what_is_put_aside_at_it_again(tmp_path):
    for value, step, num_generated in ((1.0, 3, 10), (2.0, 4, 20), (3.0, 4, 10)):
        _best(tmp_path / "best", tf.Variable(value)).offer(step, 5.0, _Protocol(num_generated))
    assert _kept(tmp_path / "best") == (4, 3.0) and _kept(tmp_path / "best_until_step_4") == (4, 2.0)


def test_a_state_that_cannot_be_written_is_not_the_best(tmp_path):
    value = tf.Variable(tf.fill([1000], 1.0))
    best = _best(tmp_path, value)
    best.offer(1, 5.0, _Protocol())
    value.assign_add(tf.ones([1000]))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))  # as on a full disk
    try:
        with pytest.raises(UserError, match="cannot write the checkpoint of step 2"):
            best.offer(2, 4.0, _Protocol())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert json.loads((tmp_path / "best.json").read_text())["step"] == _kept(tmp_path)[0] == 1
    best.offer(3, 4.5, _Protocol())
    step, values = _kept(tmp_path)
    assert step == 3 and values.tolist() == [2.0] * 1000


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory with checkpoints of steps 1 to 3 whose networks all differ, and a best one."""
    path = tmp_path_factory.mktemp("run")
    config = override(preset("tiny"), {"train.seed": 3})
    directory = RunDirectory(str(path), config, data={"num_images": 5, "fingerprint": "abc"})
    gan = build_gan(config)
    managers = [
        tf.train.CheckpointManager(gan.checkpoint(), folder, max_to_keep=3)
        for folder in (directory.checkpoints, directory.best_checkpoint)
    ]
    images = {}
    latents = tf.random.stateless_normal([4, 16], [0, 0])
    for step in (1, 2, 3):
        gan.step.assign(step)
        for network, change in ((gan.generator, 1.1), (gan.ema_generator, 0.9)):
            network.set_weights([weights * change for weights in network.get_weights()])
        managers[0].save(checkpoint_number=step)
        if step == 2:
            managers[1].save(checkpoint_number=step)
        images[step] = {
            "raw": gan.generator(latents).numpy(),
            "ema": gan.ema_generator(latents).numpy(),
        }
    return str(path), latents, images


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["ema", "raw"])
@pytest.mark.parametrize("checkpoint, step", [("latest", 3), ("best", 2), ("1", 1), ("2", 2)])
def test_generators_come_out_as_they_went_in(run, checkpoint, step, weights):
    path, latents, images = run
    trained = load_generator(path, checkpoint, weights)
    np.testing.assert_array_equal(trained.network(latents), images[step][weights])
    assert trained.step == step and trained.config.train.seed == 3
    assert trained.data == {"num_images": 5, "fingerprint": "abc"}
    others = [images[s][w] for s in images for w in ("ema", "raw") if (s, w) != (step, weights)]
    assert all(np.abs(images[step][weights] - other).max() > 1e-3 for other in others)


def test_what_cannot_be_loaded_is_named(run, tmp_path):
    path = run[0]
    with pytest.raises(UserError, match=r"no checkpoint '7': available steps: 1, 2, 3"):
        load_generator(path, "7")
    with pytest.raises(UserError, match=r"is not a run: it has no config\.json"):
        load_generator(str(tmp_path))
    RunDirectory(str(tmp_path), preset("tiny"))
    with pytest.raises(UserError, match="no checkpoint 'latest': there is none"):
        load_generator(str(tmp_path))
    with pytest.raises(UserError, match="no checkpoint 'best': there is none"):
        load_generator(str(tmp_path), "best")


def test_a_damaged_checkpoint_is_named(tmp_path):
    config = preset("tiny")
    directory = RunDirectory(str(tmp_path), config)
    tf.train.CheckpointManager(build_gan(config).checkpoint(), directory.checkpoints, max_to_keep=1).save(1)
    (data,) = (tmp_path / "checkpoints").glob("ckpt-1.data-*")
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(UserError, match=r"cannot restore .*ckpt-1 \("):
        load_generator(str(tmp_path))
    (tmp_path / "checkpoints" / "checkpoint").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="cannot read the list of checkpoints"):
        load_generator(str(tmp_path))


def test_a_checkpoint_without_the_weights_is_no_generator(tmp_path):
    """Otherwise they would be those of the initialisation."""
    config = preset("tiny")
    directory = RunDirectory(str(tmp_path), config)
    checkpoint = tf.train.Checkpoint(generator=build_generator(config), step=tf.Variable(1, dtype=tf.int64))
    tf.train.CheckpointManager(checkpoint, directory.checkpoints, max_to_keep=1).save(21)
    assert load_generator(str(tmp_path), "21", "raw").step == 1
    with pytest.raises(UserError, match=r"cannot restore .*ckpt-21 \(it holds other variables"):
        load_generator(str(tmp_path), weights="ema")
    with pytest.raises(UserError, match=r"no checkpoint '1': available steps: 21"):
        load_generator(str(tmp_path), "1", "raw")


def test_an_entry_of_the_list_without_a_step_is_none(tmp_path):
    directory = RunDirectory(str(tmp_path), preset("tiny"))
    pathlib.Path(directory.checkpoints, "checkpoint").write_text(
        'model_checkpoint_path: "garbage"\nall_model_checkpoint_paths: "garbage"\n'
    )
    for checkpoint in ("latest", "7"):
        with pytest.raises(UserError, match=f"holds no checkpoint '{checkpoint}': there is none"):
            load_generator(str(tmp_path), checkpoint)


def test_a_checkpoint_that_a_run_replaces_meanwhile_is_not_missed(run, monkeypatch):
    """The newest one goes away between its choice and its reading; then there is a newer one."""
    path, latents, images = run
    chosen = generator.checkpoint_path
    calls = []

    def choose(model_dir, checkpoint):
        calls.append(checkpoint)
        return chosen(model_dir, checkpoint) if len(calls) > 1 else chosen(model_dir, "1") + "0"

    monkeypatch.setattr(generator, "checkpoint_path", choose)
    trained = load_generator(path)
    np.testing.assert_array_equal(trained.network(latents), images[3]["ema"])


def test_an_index_that_is_cut_short_is_named(tmp_path):
    config = preset("tiny")
    directory = RunDirectory(str(tmp_path), config)
    tf.train.CheckpointManager(build_gan(config).checkpoint(), directory.checkpoints, max_to_keep=1).save(1)
    (tmp_path / "checkpoints" / "ckpt-1.index").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot restore .*ckpt-1 \("):
        load_generator(str(tmp_path))
