"""Whatever ends a run, it goes on from its newest whole state, and ends as if nothing had happened."""

import json
import random
import signal

import killed_run
import numpy as np
import pytest
import tensorflow as tf
from killed_run import after, seconds, writing

STEPS = 240
FIELDS = {
    "train.total_kimg": STEPS * 8 / 1000,
    "log.checkpoint_every_kimg": 5 * 8 / 1000,
    "log.samples_every_kimg": 10 * 8 / 1000,
    "log.eval_every_kimg": 10 * 8 / 1000,
    "log.diagnostics_every_kimg": 0.0,
}
# Sizes of files of the smallest preset, in bytes: a place in the middle of a write is below them.
CHECKPOINT, PNG, LINE = 200_000, 30_000, 500


def _kill_points():
    draw = random.Random(7)
    points = [after("step", draw.randint(1, 9)) for _ in range(6)]
    points += [writing("checkpoint", draw.randint(1, CHECKPOINT), draw.randint(1, 2)) for _ in range(4)]
    points += [after("checkpoint"), after("images of an evaluation"), after("images of an evaluation", 2)]
    points += [writing("samples", draw.randint(1, PNG)), writing("best checkpoint", draw.randint(1, CHECKPOINT))]
    points += [writing("metrics", draw.randint(1, LINE)), after("metrics"), after("best checkpoint")]
    points += [seconds(draw.uniform(2, 8)) for _ in range(2)]
    draw.shuffle(points)
    return points


# At the end of the run: while the SavedModel is written, and when the old one is gone and the new one not yet there.
EXPORT_POINTS = [writing("export", 10_000), writing("export", 100_000), after("removal of an export", 2)]


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
    model_dir = tmp_path_factory.mktemp("unbroken") / "run"
    assert killed_run.run(model_dir, FIELDS) == 0
    return model_dir


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_is_not(unbroken, tmp_path):
    model_dir = tmp_path / "run"
    points = _kill_points()
    assert len(points) == 20
    for point in [*points, *EXPORT_POINTS]:
        code = killed_run.run(model_dir, FIELDS, point)
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
    assert [line["step"] for line in lines] == list(range(0, STEPS + 1, 10))
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
