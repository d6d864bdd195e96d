"""Whether the process is the kernel of a notebook."""

from __future__ import annotations

import sys


def in_notebook() -> bool:
    """Returns whether this process is the kernel of a notebook, such as Jupyter's or Colab's."""
    ipython = sys.modules.get("IPython")  # a kernel has imported it
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel") or type(shell).__name__ == "ZMQInteractiveShell"
