"""config.json and metrics.jsonl: refusals name what is wrong, and nothing is lost."""

import errno
import json
import os
import platform

import pytest
import tensorflow as tf

import vitgan_tf
from vitgan_tf.config import from_dict, override
from vitgan_tf.errors import UserError
from vitgan_tf.presets import preset
from vitgan_tf.runs.directory import RunDirectory, held_run

CONFIG = preset("tiny")


def test_config_file_tells_what_made_the_run(tmp_path):
    RunDirectory(str(tmp_path / "new" / "run"), CONFIG, {"command": ["run.py", "--dataset=tiny"]})
    content = json.loads((tmp_path / "new" / "run" / "config.json").read_text())
    assert from_dict(content["config"]) == CONFIG
    assert content["command"] == ["run.py", "--dataset=tiny"]
    assert content["versions"] == {
        "vitgan_tf": vitgan_tf.__version__,
        "tensorflow": tf.__version__,
        "python": platform.python_version(),
    }


def test_another_configuration_is_refused_with_the_differing_fields(tmp_path):
    RunDirectory(str(tmp_path), CONFIG)
    before = (tmp_path / "config.json").read_text()
    other = override(CONFIG, {"generator.num_blocks": 3, "train.seed": 5})
    with pytest.raises(UserError) as error:
        RunDirectory(str(tmp_path), other)
    assert "(train.seed: 0 -> 5; generator.num_blocks: 2 -> 3)" in str(error.value)
    assert (tmp_path / "config.json").read_text() == before


def test_length_and_logging_may_change(tmp_path):
    RunDirectory(str(tmp_path), CONFIG)
    longer = override(CONFIG, {"train.total_kimg": 1.0, "log.eval_samples": 50, "train.xla": "off"})
    RunDirectory(str(tmp_path), longer)
    assert from_dict(json.loads((tmp_path / "config.json").read_text())["config"]) == longer


@pytest.mark.parametrize(
    "changes",
    [
        {"train.microbatch": 4},
        {"train.steps_per_execution": 2},
        {"train.on_nan": "rollback"},
        {"log.keep_checkpoints": 7},
        {"eval.split": "evaluation"},
    ],
)
def test_what_does_not_alter_the_steps_may_change(tmp_path, changes):
    RunDirectory(str(tmp_path), CONFIG)
    changed = override(CONFIG, changes)
    assert changed != CONFIG
    RunDirectory(str(tmp_path), changed)
    assert from_dict(json.loads((tmp_path / "config.json").read_text())["config"]) == changed


def test_other_images_are_refused_and_those_of_a_run_that_did_not_note_them_are_not(tmp_path):
    RunDirectory(str(tmp_path), CONFIG)
    RunDirectory(str(tmp_path), CONFIG, data={"num_images": 5, "fingerprint": "abc"})
    before = (tmp_path / "config.json").read_text()
    RunDirectory(str(tmp_path), CONFIG, data={"num_images": 5, "fingerprint": "abc"})
    for data in ({"num_images": 5, "fingerprint": "abd"}, {"num_images": 6, "fingerprint": "abc"}, None):
        with pytest.raises(UserError, match=r"on other images \(then num_images 5, fingerprint abc, now "):
            RunDirectory(str(tmp_path), CONFIG, data=data)
    assert (tmp_path / "config.json").read_text() == before


@pytest.mark.parametrize("content", ["", "{", "[]", '{"config": {}}', '{"config": {"data": 3}}', "null"])
def test_a_damaged_config_file_is_refused_and_kept(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json is not the configuration of a run"):
        RunDirectory(str(tmp_path), CONFIG)
    assert (tmp_path / "config.json").read_text() == content


def test_a_path_that_cannot_be_a_directory_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"cannot write the run directory.*choose another with --model_dir"):
        RunDirectory(str(tmp_path / "file" / "run"), CONFIG)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_is_held_by_one_until_it_is_given_back(tmp_path):
    path = str(tmp_path / "new" / "run")
    for _ in range(2):
        with held_run(path):
            for _ in range(2):
                with pytest.raises(UserError, match="another process writes to the run directory"), held_run(path):
                    raise AssertionError("held twice")
        # Also by an error inside, which is none of the directory's.
        with pytest.raises(OSError, match="of the training"), held_run(path):
            raise OSError("of the training")
    assert os.listdir(path) == [".lock"]


def test_where_no_run_can_be_held_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    for path, message in (
        (str(tmp_path / "file" / "run"), r"cannot write the run directory.*choose another with --model_dir"),
        ("gs://bucket/run", "'gs://bucket/run' is not a local folder"),
    ):
        with pytest.raises(UserError, match=message), held_run(path):
            pass
    assert os.listdir(tmp_path) == ["file"]


def test_a_read_only_directory_is_refused(tmp_path, monkeypatch):
    """As root, who may write everywhere, a read-only directory is one where opening for writing fails."""
    real_open = open

    def read_only_open(file, mode="r", *args, **kwargs):
        if "r" not in mode and str(file).startswith(str(tmp_path)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(file))
        return real_open(file, mode, *args, **kwargs)

    monkeypatch.setattr("builtins.open", read_only_open)
    with pytest.raises(UserError, match=r"Read-only file system\): choose another with --model_dir"):
        RunDirectory(str(tmp_path), CONFIG)


def test_metrics_of_lost_steps_are_dropped_and_the_others_kept(tmp_path):
    directory = RunDirectory(str(tmp_path), CONFIG)
    directory.drop_metrics_after(0)  # no file yet
    for step in (0, 10, 20, 30):
        directory.append_metrics({"step": step, "kimg": step / 1000})
    # Of a finished generator, scored by hand: they will not come again.
    by_hand = [{"step": step, "source": "tools/evaluate.py"} for step in (30, None)]
    for line in by_hand:
        directory.append_metrics(line)
    path = tmp_path / "metrics.jsonl"
    with path.open("a") as file:
        file.write('{"step": 4')  # killed while writing
    directory.drop_metrics_after(20)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        *({"step": step, "kimg": step / 1000} for step in (0, 10, 20)),
        *by_hand,
    ]


@pytest.mark.parametrize("name", ["a*", "a?", "a [3]", "a]", "a\\b"])
def test_a_name_that_tensorflow_takes_for_a_pattern_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="TensorFlow finds no checkpoints"), held_run(str(tmp_path / name)):
        pass
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("line", [b'{"step": \xff}\n', b"\xff\n", b'{"step": null}\n', b'{"step": "x"}\n'])
def test_a_damaged_line_of_scores_is_left_out(tmp_path, line):
    directory = RunDirectory(str(tmp_path), CONFIG)
    for step in (0, 5):
        directory.append_metrics({"step": step, "source": "training"})
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + line)
    assert [step for step in range(9) if directory.has_metrics_of(step)] == [0, 5]
    directory.drop_metrics_after(5)
    assert path.read_bytes() == whole


def test_sections_that_no_network_reads_may_differ(tmp_path):
    """A run from before there was a baseline goes on."""
    config = preset("tiny", "stylegan2_d")
    RunDirectory(str(tmp_path), config)
    path = tmp_path / "config.json"
    content = json.loads(path.read_text())
    for section in ("resnet", "transgan", "biggan"):
        del content["config"][section]
    path.write_text(json.dumps(content))
    RunDirectory(str(tmp_path), override(config, {"resnet.width": 7, "transgan.latent_dim": 7}))
    with pytest.raises(UserError, match=r"stylegan2\.group_size: 4 -> 2"):
        RunDirectory(str(tmp_path), override(config, {"stylegan2.group_size": 2}))
