"""The newest states of a run survive what happens to disks: cut, flipped and missing files, and no room for more."""

import contextlib
import pathlib
import resource

import numpy as np
import pytest
import tensorflow as tf

from vitgan_tf.errors import UserError
from vitgan_tf.runs.checkpoints import RunCheckpoints

SIZE = 1000


def _checkpoints(path, value, keep=3):
    path.mkdir(exist_ok=True)
    return RunCheckpoints(tf.train.Checkpoint(value=value), str(path), keep)


def _saved(path, steps, keep=3):
    """A folder of states in which every number is the step."""
    value = tf.Variable(tf.zeros([SIZE]))
    checkpoints = _checkpoints(path, value, keep)
    assert checkpoints.restore_newest() is None
    for step in steps:
        value.assign(tf.fill([SIZE], float(step)))
        checkpoints.save(step)
    return path


def _restored(path):
    """The step of the newest state that a new process would find, after comparing what it holds."""
    value = tf.Variable(tf.zeros([SIZE]))
    step = _checkpoints(path, value).restore_newest()
    np.testing.assert_array_equal(value.numpy(), np.full([SIZE], step, np.float32))
    return step


def _contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def _data(path, step):
    return path / f"ckpt-{step}.data-00000-of-00001"


def _index(path, step):
    return path / f"ckpt-{step}.index"


def _cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _flip(file, place=0.5):
    content = bytearray(file.read_bytes())
    content[int(len(content) * place)] ^= 4
    file.write_bytes(content)


DAMAGES = {
    "data cut": lambda path: _cut(_data(path, 3)),
    "data empty": lambda path: _data(path, 3).write_bytes(b""),
    "data missing": lambda path: _data(path, 3).unlink(),
    "bit of the data": lambda path: _flip(_data(path, 3)),
    "index cut": lambda path: _cut(_index(path, 3)),
    "index empty": lambda path: _index(path, 3).write_bytes(b""),
    "index missing": lambda path: _index(path, 3).unlink(),
    "bit of the index": lambda path: _flip(_index(path, 3), 0.1),
    "all of it missing": lambda path: (_index(path, 3).unlink(), _data(path, 3).unlink()),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_the_state_before_a_damaged_one_is_used_and_the_damage_named(tmp_path, caplog, damage):
    path = _saved(tmp_path / "run", [1, 2, 3])
    damage(path)
    before = _contents(path)
    with caplog.at_level("WARNING", logger="absl"):
        assert _restored(path) == 2
    assert "ckpt-3" in caplog.text or "step 3 is missing" in caplog.text
    assert _contents(path) == before
    # The run goes on, past the damaged state and over it.
    value = tf.Variable(tf.zeros([SIZE]))
    checkpoints = _checkpoints(path, value)
    assert checkpoints.restore_newest() == 2
    for step in (3, 4):
        value.assign(tf.fill([SIZE], float(step)))
        checkpoints.save(step)
    assert _restored(path) == 4
    assert {file.name for file in path.glob("*.index")} == {f"ckpt-{step}.index" for step in (2, 3, 4)}
    listed = tf.train.get_checkpoint_state(str(path)).all_model_checkpoint_paths
    assert [name.rsplit("-", 1)[1] for name in listed] == ["2", "3", "4"]


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00", b"garbage", b'model_checkpoint_path: "ckpt-1"\n'])
def test_a_damaged_list_of_checkpoints_is_made_again(tmp_path, content):
    path = _saved(tmp_path / "run", [1, 2, 3])
    listing = path / "checkpoint"
    listing.unlink() if content is None else listing.write_bytes(content)
    value = tf.Variable(tf.zeros([SIZE]))
    checkpoints = _checkpoints(path, value)
    assert checkpoints.restore_newest() == 3
    value.assign(tf.fill([SIZE], 4.0))
    checkpoints.save(4)
    assert _restored(path) == 4
    assert {file.name for file in path.glob("*.index")} == {f"ckpt-{step}.index" for step in (2, 3, 4)}
    assert tf.train.latest_checkpoint(str(path)) == str(path / "ckpt-4")


@pytest.mark.parametrize("damages", [("data cut", "index cut"), ("all of it missing", "bit of the data")])
def test_if_none_is_whole_the_run_stops_and_nothing_is_touched(tmp_path, damages):
    path = _saved(tmp_path / "run", [2, 3])
    DAMAGES[damages[0]](path)
    _flip(_data(path, 2))
    before = _contents(path)
    with pytest.raises(UserError, match=r"no checkpoint that can be restored.*Nothing was changed"):
        _restored(path)
    assert _contents(path) == before


def test_a_damaged_state_is_put_aside_also_where_it_is_not_written_again(tmp_path):
    """The run goes on with another period."""
    path = _saved(tmp_path / "run", [1, 2, 3])
    content = _data(path, 3).read_bytes()[:100]
    _data(path, 3).write_bytes(content)
    value = tf.Variable(tf.zeros([SIZE]))
    checkpoints = _checkpoints(path, value)
    assert checkpoints.restore_newest() == 2
    checkpoints.save(4)
    assert {file.name for file in path.glob("*.index")} == {f"ckpt-{step}.index" for step in (1, 2, 4)}
    listed = tf.train.get_checkpoint_state(str(path)).all_model_checkpoint_paths
    assert [name.rsplit("-", 1)[1] for name in listed] == ["1", "2", "4"]
    assert (path / f"{_data(path, 3).name}.damaged").read_bytes() == content


def test_the_newest_is_that_of_the_largest_number(tmp_path):
    path = _saved(tmp_path / "run", [8, 9, 10])
    assert _restored(path) == 10
    (path / "checkpoint").unlink()
    value = tf.Variable(tf.fill([SIZE], 11.0))
    checkpoints = _checkpoints(path, value)
    assert checkpoints.restore_newest() == 10
    value.assign_add(tf.ones([SIZE]))
    checkpoints.save(11)
    assert tf.train.latest_checkpoint(str(path)) == str(path / "ckpt-11")
    assert {file.name for file in path.glob("*.index")} == {f"ckpt-{step}.index" for step in (9, 10, 11)}


def test_where_there_is_no_folder_yet_there_is_nothing_to_restore(tmp_path):
    """As a process sees it that does not write, and comes before the one that does."""
    value = tf.Variable(tf.ones([SIZE]))
    assert RunCheckpoints(tf.train.Checkpoint(value=value), str(tmp_path / "later"), 3).restore_newest() is None
    assert value.numpy().sum() == SIZE


@pytest.mark.parametrize("others", [{}, {"value": [SIZE], "bias": [3]}, {"value": [SIZE + 1]}, {"bias": [SIZE]}])
def test_a_state_of_other_objects_is_refused(tmp_path, others):
    """Of a model with less in it, with more, with another shape, or with another name."""
    path = _saved(tmp_path / "run", [1])
    before = _contents(path)
    checkpoint = tf.train.Checkpoint(**{name: tf.Variable(tf.zeros(shape)) for name, shape in others.items()})
    with pytest.raises(UserError, match=r"no checkpoint that can be restored \(cannot restore .*ckpt-1 \("):
        RunCheckpoints(checkpoint, str(path), 3).restore_newest()
    assert _contents(path) == before


def test_if_all_files_are_missing_the_run_does_not_begin_anew(tmp_path):
    path = _saved(tmp_path / "run", [2, 3])
    for file in path.glob("ckpt-*"):
        file.unlink()
    with pytest.raises(UserError, match="all are missing"):
        _restored(path)


def test_the_newest_are_kept(tmp_path):
    path = _saved(tmp_path / "run", range(1, 8), keep=2)
    assert sorted(_contents(path)) == [
        "checkpoint",
        *(f"ckpt-{step}.{end}" for step in (6, 7) for end in ("data-00000-of-00001", "index")),
    ]
    # Also by a process that goes on.
    value = tf.Variable(tf.zeros([SIZE]))
    checkpoints = _checkpoints(path, value, keep=2)
    checkpoints.restore_newest()
    checkpoints.save(8)
    assert {file.name for file in path.glob("*.index")} == {"ckpt-7.index", "ckpt-8.index"}


@contextlib.contextmanager
def _files_up_to(size):
    """No file grows larger: writing ends with an error, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_list_of_a_relative_folder_holds_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _saved(pathlib.Path("run"), (1, 2, 3, 4), keep=2)
    state = tf.train.get_checkpoint_state(str(tmp_path / "run"))
    assert list(state.all_model_checkpoint_paths) == [str(tmp_path / "run" / f"ckpt-{step}") for step in (3, 4)]
    assert _restored(pathlib.Path("run")) == 4


@pytest.mark.parametrize("size", [0, 100, SIZE * 2])
def test_a_state_that_cannot_be_written_leaves_those_before_as_they_are(tmp_path, size):
    path = _saved(tmp_path / "run", [1, 2])
    before = {name: content for name, content in _contents(path).items() if name != "checkpoint"}
    value = tf.Variable(tf.fill([SIZE], 3.0))
    checkpoints = _checkpoints(path, value)
    with _files_up_to(size), pytest.raises(UserError, match="cannot write the checkpoint of step 3"):
        checkpoints.save(3)
    assert {name: content for name, content in _contents(path).items() if name != "checkpoint"} == before
    assert _restored(path) == 2
    checkpoints.save(3)  # there is room again
    assert _restored(path) == 3
    assert {file.name for file in path.glob("*.index")} == {f"ckpt-{step}.index" for step in (1, 2, 3)}


def test_states_that_were_saved_well_are_not_put_aside_after_one_that_was_not(tmp_path):
    path = tmp_path / "run"
    value = tf.Variable(tf.zeros([SIZE]))
    checkpoints = _checkpoints(path, value)
    for step in (1, 2):
        value.assign(tf.fill([SIZE], float(step)))
        checkpoints.save(step)
    value.assign(tf.fill([SIZE], 3.0))
    with _files_up_to(100), pytest.raises(UserError, match="cannot write the checkpoint of step 3"):
        checkpoints.save(3)
    checkpoints.save(3)
    assert sorted(_contents(path)) == [
        "checkpoint",
        *(f"ckpt-{step}.{end}" for step in (1, 2, 3) for end in ("data-00000-of-00001", "index")),
    ]
    assert _restored(path) == 3


@contextlib.contextmanager
def _bad_disk(monkeypatch):
    """A bit of what is written changes."""
    save = tf.train.CheckpointManager.save

    def save_and_flip(manager, **arguments):
        written = save(manager, **arguments)
        _flip(pathlib.Path(f"{written}.data-00000-of-00001"))
        return written

    with monkeypatch.context() as patch:
        patch.setattr(tf.train.CheckpointManager, "save", save_and_flip)
        yield


@pytest.mark.parametrize("keep", [1, 2])
def test_the_last_good_states_stay_until_a_new_one_is_known_to_be_good(tmp_path, monkeypatch, keep):
    path = _saved(tmp_path / "run", [1, 2, 3], keep)
    kept = {f"ckpt-{step}.index" for step in range(4 - keep, 4)}
    value = tf.Variable(tf.fill([SIZE], 4.0))
    checkpoints = _checkpoints(path, value, keep)
    for step in (4, 5):
        with _bad_disk(monkeypatch), pytest.raises(UserError, match=f"the checkpoint of step {step}"):
            checkpoints.save(step)
        assert kept <= {file.name for file in path.glob("*.index")}
    assert _restored(path) == 3
    value.assign(tf.fill([SIZE], 6.0))
    checkpoints.save(6)
    assert {file.name for file in path.glob("*.index")} == {f"ckpt-{step}.index" for step in [*range(5 - keep, 4), 6]}
    assert _restored(path) == 6


def test_an_empty_list_of_checkpoints_is_no_reason_not_to_save(tmp_path):
    """As a machine leaves it that loses its power."""
    path = _saved(tmp_path / "run", [])
    (path / "checkpoint").write_text("")
    value = tf.Variable(tf.fill([SIZE], 1.0))
    checkpoints = _checkpoints(path, value)
    assert checkpoints.restore_newest() is None
    checkpoints.save(1)
    assert _restored(path) == 1


def test_a_state_is_read_back_once_it_is_written(tmp_path, monkeypatch):
    path = _saved(tmp_path / "run", [1])
    value = tf.Variable(tf.fill([SIZE], 2.0))
    checkpoints = _checkpoints(path, value)
    with _bad_disk(monkeypatch), pytest.raises(UserError, match="cannot write the checkpoint of step 2"):
        checkpoints.save(2)
    assert _restored(path) == 1
    value.assign(tf.fill([SIZE], 3.0))
    checkpoints.save(3)
    assert _restored(path) == 3
    assert {file.name for file in path.glob("*.index")} == {"ckpt-1.index", "ckpt-3.index"}
    assert {file.name for file in path.glob("*.damaged")} == {
        "ckpt-2.index.damaged",
        "ckpt-2.data-00000-of-00001.damaged",
    }


def test_pieces_of_an_unfinished_write_are_removed(tmp_path):
    path = _saved(tmp_path / "run", [1])
    (path / "ckpt-2_temp").mkdir()
    (path / "ckpt-2_temp" / "part-00000-of-00001.data-00000-of-00001").write_bytes(b"x")
    (path / "ckpt-2.data-00000-of-00001").write_bytes(b"x")
    (path / "ckpt-1.index.tempstate123").write_bytes(b"x")
    (path / "notes.txt").write_text("the user's own")
    value = tf.Variable(tf.zeros([SIZE]))
    checkpoints = _checkpoints(path, value)
    assert checkpoints.restore_newest() == 1
    value.assign(tf.fill([SIZE], 3.0))
    checkpoints.save(3)
    assert sorted(_contents(path)) == [
        "checkpoint",
        *(f"ckpt-{step}.{end}" for step in (1, 3) for end in ("data-00000-of-00001", "index")),
        "notes.txt",
    ]
