"""A stand-in for the kernel of a notebook."""

import sys
import types


def pretend(monkeypatch):
    """Makes this process look like the kernel of a notebook."""
    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
