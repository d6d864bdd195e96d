"""Files and locks that survive whatever interrupts a process."""

import os
import subprocess
import sys
import textwrap

import pytest

from vitgan_tf.files import append_json_line, only_one, read_json_lines, write_atomically


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = str(tmp_path / "file")
    write_atomically(path, b"old")

    def fail(_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new content")
    with open(path, "rb") as file:
        assert file.read() == b"old"


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


def test_a_line_after_a_piece_of_one_is_a_line_of_its_own(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_json_line(str(path), {"step": 1})
    with path.open("a") as file:
        file.write('{"step": 4, "ki')
    append_json_line(str(path), {"step": 5})
    append_json_line(str(path), {"step": 6})
    assert path.read_text() == '{"step": 1}\n{"step": 4, "ki\n{"step": 5}\n{"step": 6}\n'
    assert [line["step"] for line in read_json_lines(str(path))] == [1, 5, 6]
