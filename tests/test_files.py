"""Files and locks that survive whatever interrupts a process."""

import hashlib
import json
import math
import os
import subprocess
import sys
import textwrap
import threading

import pytest

from vitgan_tf.files import (
    append_json_line,
    damaged_file,
    only_one,
    read_json_lines,
    write_atomically,
    write_checksums,
)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt("disk full")])
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, error):
    path = str(tmp_path / "file")
    write_atomically(path, b"old")

    def fail(_):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(error), match="disk full"):
        write_atomically(path, b"new content")
    with open(path, "rb") as file:
        assert file.read() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """Otherwise a machine that loses its power may be left with an empty file of that name."""
    path, calls = str(tmp_path / "file"), []
    write_atomically(path, b"old")
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda number: calls.append(("fsync", os.fstat(number).st_size)))
    monkeypatch.setattr(os, "replace", lambda old, new: (calls.append(("replace", new)), replace(old, new)))
    write_atomically(path, b"new content")
    assert calls == [("fsync", 11), ("replace", path)]
    with open(path, "rb") as file:
        assert file.read() == b"new content"


def test_one_process_at_a_time_and_the_lock_does_not_outlive_it(tmp_path):
    hold = textwrap.dedent(
        f"""
        from vitgan_tf.files import only_one
        with only_one({str(tmp_path)!r}):
            print("held", flush=True)
            input()
        """
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError), only_one(str(tmp_path)):
            pass
        holder.kill()
        holder.wait()
    with only_one(str(tmp_path)):
        pass


def test_a_line_after_a_piece_of_one_is_a_line_of_its_own(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    append_json_line(str(path), {"step": 1})
    with path.open("a") as file:
        file.write('{"step": 4, "ki')
    append_json_line(str(path), {"step": 5})
    append_json_line(str(path), {"step": 6})
    assert path.read_text() == '{"step": 1}\n{"step": 4, "ki\n{"step": 5}\n{"step": 6}\n'
    with caplog.at_level("WARNING", logger="absl"):
        assert [line["step"] for line in read_json_lines(str(path))] == [1, 5, 6]
    assert [record.getMessage() for record in caplog.records] == [f"{path}: line 2 is damaged and skipped"]
    path.write_text('[{"step": 1}]\n3\n{"step": 2}\nnull\n')
    assert read_json_lines(str(path)) == [{"step": 2}]


def test_what_json_does_not_know_is_not_written(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_json_line(str(path), {"step": 1})
    with pytest.raises(ValueError, match="JSON"):
        append_json_line(str(path), {"step": 2, "loss": math.nan})
    assert path.read_text() == '{"step": 1}\n'


def _flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_checksums_tell_which_file_is_damaged(tmp_path):
    """A byte each beyond the first MiB of a file, in a folder within, and of a file that is gone or new."""
    large, small = tmp_path / "variables" / "variables.data", tmp_path / "saved_model.pb"
    large.parent.mkdir()
    large.write_bytes(bytes(2**21 + 5))
    small.write_bytes(b"graph")
    assert damaged_file(str(tmp_path)) is None  # other programs write no checksums
    write_checksums(str(tmp_path))
    checksums = tmp_path / "assets.extra" / "sha256.json"
    assert json.loads(checksums.read_text()) == {
        "saved_model.pb": hashlib.sha256(b"graph").hexdigest(),
        "variables/variables.data": hashlib.sha256(bytes(2**21 + 5)).hexdigest(),
    }
    assert damaged_file(str(tmp_path)) is None
    for path, place in ((large, -1), (large, 2**20), (small, 0)):
        _flip(path, place)
        assert damaged_file(str(tmp_path)) == str(path.relative_to(tmp_path))
        _flip(path, place)
        assert damaged_file(str(tmp_path)) is None
    (tmp_path / "notes.txt").write_text("the user's own")
    assert damaged_file(str(tmp_path)) is None
    small.unlink()
    assert damaged_file(str(tmp_path)) == "saved_model.pb"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"3", b"\xff\xfe", b"[" * 100_000])
def test_checksums_that_cannot_be_read_are_themselves_damaged(tmp_path, content):
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "sha256.json").write_bytes(content)
    assert damaged_file(str(tmp_path)) == os.path.join("assets.extra", "sha256.json")


def test_a_lock_is_waited_for_where_that_is_wanted(tmp_path):
    """Within one process, two open files are two holders."""
    order = []

    def wait():
        with only_one(str(tmp_path), wait=True):
            order.append("second")

    thread = threading.Thread(target=wait, daemon=True)
    with only_one(str(tmp_path)):
        thread.start()
        thread.join(0.1)
        order.append("first")
        assert thread.is_alive()
    thread.join(10)
    assert order == ["first", "second"]
