"""The git checkout that this package is imported from."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

from vitgan_tf.errors import UserError

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(_PACKAGE)


def commit() -> str | None:
    """Returns the commit of the checkout that contains the package; None for an installed package."""
    try:
        # A virtual environment may lie in another project's checkout, which does not track it.
        _git("ls-files", "--error-unmatch", os.path.join(_PACKAGE, "__init__.py"))
        return _git("rev-parse", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return None


def short_name(folder: str) -> str:
    """Returns the abbreviated commit of a checkout, followed by "-dirty" if its tracked files have changed since."""
    return _git("describe", "--always", "--dirty", "--exclude=*", folder=folder)


@contextlib.contextmanager
def worktree(revision: str) -> Iterator[str]:
    """Checks a commit out into a temporary folder, which is removed at the end, also by an exception.

    Args:
      revision: commit in any form that git knows.

    Yields:
      The folder.

    Raises:
      UserError: git is missing, the package is not in a checkout, there is no such commit, or it cannot be written.
    """
    if shutil.which("git") is None:
        raise UserError("another commit is checked out with git, which is not installed")
    if commit() is None:
        raise UserError(f"another commit is checked out of the project's repository, and {ROOT} is no checkout of it")
    try:
        found = _git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except subprocess.CalledProcessError as error:
        raise UserError(f"{revision!r} is no commit in {ROOT}") from error
    with tempfile.TemporaryDirectory(prefix="vitgan_") as parent:
        folder = os.path.join(parent, "checkout")
        try:
            _add(folder, found)
            yield folder
        finally:
            # Fails only where there is nothing to remove, since `add` failed.
            with contextlib.suppress(subprocess.CalledProcessError):
                _git("worktree", "remove", "--force", folder)


def _add(folder: str, found: str) -> None:
    try:
        _git("worktree", "add", "--quiet", "--detach", folder, found)
    except subprocess.CalledProcessError as error:
        raise UserError(f"cannot check out {found}: {error.stderr.strip().splitlines()[-1]}") from error


def _git(*arguments: str, folder: str | None = None) -> str:
    """Returns what git prints in a checkout, by default the package's."""
    result = subprocess.run(["git", "-C", folder or ROOT, *arguments], capture_output=True, text=True, check=True)
    return result.stdout.strip()
