"""Where progress is a bar, and of which kind."""

import io
import sys
import types

import pytest
import tqdm
from support import kernel

from vitgan_tf.notebook import in_notebook
from vitgan_tf.progress import Progress, progress, shows_bars


def test_a_notebook_shows_its_own_bars(monkeypatch):
    shown = []

    class Bar(tqdm.tqdm):
        def close(self):
            shown.append((self.desc.rstrip(": "), self.n, self.total))
            super().close()

    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    kernel.pretend(monkeypatch)
    assert list(progress([1, 2, 3], "images", 3, "image")) == [1, 2, 3]
    bar = Progress("steps", 5, "step", done=2)
    bar.restart(3)
    bar.show(4, "d_loss 1.5", is_due=True)
    bar.close()
    assert {("images", 3, 3), ("steps", 4, 5)} == set(shown)


@pytest.mark.parametrize(
    "ipython, expected",
    [
        (None, False),
        (types.SimpleNamespace(get_ipython=lambda: None), False),  # imported by a script
        (types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace(config={})), False),  # IPython's terminal
        (types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace(kernel=object())), True),
        (types.SimpleNamespace(get_ipython=type("ZMQInteractiveShell", (), {})), True),
    ],
)
def test_only_kernels_are_notebooks(monkeypatch, ipython, expected):
    if ipython is None:
        monkeypatch.delitem(sys.modules, "IPython", raising=False)
    else:
        monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert in_notebook() == shows_bars() == expected


def test_a_terminal_has_tqdms_plain_bars(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr("tqdm.auto.tqdm", None)
    bar = Progress("steps", 5, "step")
    assert type(bar._bar) is tqdm.tqdm
    bar.close()
