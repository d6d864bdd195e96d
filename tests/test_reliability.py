"""Whatever ends a run, it goes on from its newest whole state, and ends as if nothing had happened."""

import json
import random
import shutil
import signal
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from support import classifier, commands, killed_run, small
from support.killed_run import after, writing

from vitgan_tf.runs.directory import held_run

pytestmark = pytest.mark.slow

STEPS = 120
FIELDS = {
    # Most of the time of these short runs is tracing.
    "train.xla": "off",
    **small.FIELDS,
    "train.total_kimg": STEPS * 8 / 1000,
    "log.checkpoint_every_kimg": 5 * 8 / 1000,
    "log.samples_every_kimg": 10 * 8 / 1000,
    "log.eval_every_kimg": 20 * 8 / 1000,
    "log.eval_samples": 50,
    "log.diagnostics_every_kimg": 0.0,
}
# Sizes of files of the smallest preset, in bytes: a place in the middle of a write is below them.
CHECKPOINT, PNG, LINE = 200_000, 30_000, 500


def _kill_points():
    draw = random.Random(7)
    points = [after("step", draw.randint(1, 9)), writing("checkpoint", draw.randint(1, CHECKPOINT), 2)]
    points += [after("images of an evaluation", 2), writing("samples", draw.randint(1, PNG))]
    points += [writing("metrics", draw.randint(1, LINE))]
    points += [writing("best checkpoint", draw.randint(1, CHECKPOINT)), after("best checkpoint")]
    draw.shuffle(points)
    return points


# At the end of the run: while the SavedModel is written, and when the old one is gone and the new one not yet there.
EXPORT_POINTS = [writing("export", 100_000), after("removal of an export", 2)]


def _variables(path):
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(path)))
    return {
        name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if "save_counter" not in name
    }


def _assert_same_state(path, expected):
    values, expected = _variables(path), _variables(expected)
    assert set(values) == set(expected)
    for name, value in values.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    model_dir = classifier.give(tmp_path_factory.mktemp("unbroken") / "run")
    assert killed_run.run(model_dir, FIELDS) == 0
    return model_dir


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_is_not(unbroken, tmp_path):
    model_dir = classifier.give(tmp_path / "run")
    points = _kill_points()
    for point in [*points, *EXPORT_POINTS]:
        code = killed_run.run(model_dir, FIELDS, [point])
        assert code in (-signal.SIGKILL, -signal.SIGXFSZ), (point, (tmp_path / "run.log").read_text()[-2000:])
    assert killed_run.run(model_dir, FIELDS) == 0
    # Networks, spectral-norm vectors, moving average, optimisers and step.
    _assert_same_state(model_dir / "checkpoints", unbroken / "checkpoints")
    _assert_same_state(model_dir / "best_checkpoint", unbroken / "best_checkpoint")
    assert (model_dir / "best_checkpoint" / "best.json").read_text() == (
        unbroken / "best_checkpoint" / "best.json"
    ).read_text()
    lines = [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]
    assert lines == [json.loads(line) for line in (unbroken / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(0, STEPS + 1, 20))
    samples = sorted((unbroken / "samples").iterdir())
    assert [path.name for path in samples] == sorted(path.name for path in (model_dir / "samples").iterdir())
    for path in samples:
        assert path.read_bytes() == (model_dir / "samples" / path.name).read_bytes()
    generators = [tf.saved_model.load(str(path / "saved_model")) for path in (model_dir, unbroken)]
    images = [generator.generate(num_images=20, seed=3)["images"].numpy() for generator in generators]
    np.testing.assert_array_equal(*images)
    names = {path.relative_to(unbroken).parts[0].split(".")[0] for path in unbroken.rglob("*")}
    assert {path.relative_to(model_dir).parts[0].split(".")[0] for path in model_dir.rglob("*")} == names
    assert not [path for path in model_dir.rglob("*") if "partial" in path.name or "temp" in path.name]


@pytest.fixture()
def small_disk(tmp_path):
    """A folder on a disk of 4 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=777", "tmpfs", str(path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a disk")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def _content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _repair(model_dir):
    model_dir.with_name("run.filler").unlink(missing_ok=True)
    for folder in [path for path in [model_dir, *model_dir.rglob("*")] if path.is_dir()]:
        folder.chmod(0o755)


def _trains_through(fault, model_dir, unbroken, log_path):
    """With a fault that passes, and one from step 47 on, which stays until the run has ended; returns the log."""
    assert killed_run.run(model_dir, FIELDS, [fault(7, 23), fault(47)], log_path) == 1
    log = log_path.read_text()
    assert "Traceback" not in log and "cannot write the checkpoint of step 10" in log
    assert "the next checkpoint tries again" in log and f"cannot write {model_dir}/samples/step_00000010.png" in log
    assert f"cannot write the checkpoint of step {STEPS}" in log.splitlines()[-1]
    _repair(model_dir)
    # What was there before the second fault still is, and the same command goes on from there.
    assert tf.train.latest_checkpoint(str(model_dir / "checkpoints")).endswith("ckpt-45")
    assert killed_run.run(model_dir, FIELDS, [], log_path) == 0
    _assert_same_state(model_dir / "checkpoints", unbroken / "checkpoints")
    assert tf.saved_model.load(str(model_dir / "saved_model")).step.numpy() == STEPS
    return log


def test_folders_that_are_closed_end_no_run_before_its_end(unbroken, tmp_path):
    _trains_through(killed_run.forbidden, classifier.give(tmp_path / "run"), unbroken, tmp_path / "log")


def test_a_disk_that_is_full_ends_no_run_before_its_end(unbroken, small_disk, tmp_path):
    model_dir = classifier.give(small_disk / "run")
    log = _trains_through(killed_run.full_disk, model_dir, unbroken, tmp_path / "log")
    assert "cannot write events for TensorBoard" in log and "No space left on device" in log
    # The whole SavedModel stays where a new one cannot be written.
    before = _content(model_dir / "saved_model")
    (tmp_path / "log").unlink()
    assert killed_run.run(model_dir, FIELDS, [killed_run.full_disk_at_export()], tmp_path / "log") == 1
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log and f"cannot write {model_dir}/saved_model (" in log.splitlines()[-1]
    assert "the training is complete and saved; the same command exports it" in log.splitlines()[-1]
    _repair(model_dir)
    assert _content(model_dir / "saved_model") == before
    shutil.rmtree(model_dir / "saved_model")
    assert killed_run.run(model_dir, FIELDS, [], tmp_path / "log") == 0
    assert tf.saved_model.load(str(model_dir / "saved_model")).step.numpy() == STEPS


def test_a_run_directory_has_one_writer(tmp_path):
    with held_run(str(tmp_path / "run")):
        line = commands.error_line("experiments/run.py", "--dataset=tiny", f"--model_dir={tmp_path / 'run'}")
    assert line.startswith("run.py: another process writes to the run directory")
    assert not (tmp_path / "run" / "config.json").exists()
