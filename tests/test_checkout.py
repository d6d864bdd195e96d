"""Other commits of a checkout: a worktree while it is needed, and one line where there can be none."""

import os
import shutil
import subprocess

import pytest

from vitgan_tf import checkout
from vitgan_tf.errors import UserError

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def _git(folder, *arguments):
    identity = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A checkout with two commits of a package, and the folder for temporary files."""
    root = tmp_path / "repository"
    package = root / "vitgan_tf"
    package.mkdir(parents=True)
    _git(root, "init", "--quiet")
    for content in ("old", "new"):
        (package / "__init__.py").write_text(content)
        _git(root, "add", ".")
        _git(root, "commit", "--quiet", f"--message={content}")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(checkout, "ROOT", str(root))
    monkeypatch.setattr(checkout, "_PACKAGE", str(package))
    monkeypatch.setattr(checkout.tempfile, "tempdir", str(temporary))
    return root, temporary


def _is_clean(root, temporary):
    return not list(temporary.iterdir()) and len(_git(root, "worktree", "list").splitlines()) == 1


def test_a_worktree_holds_the_other_commit_and_is_removed(repository):
    root, _ = repository
    with checkout.worktree("HEAD~1") as folder:
        with open(os.path.join(folder, "vitgan_tf", "__init__.py")) as file:
            assert file.read() == "old"
        assert checkout.short_name(folder) == _git(root, "rev-parse", "--short", "HEAD~1")
        with open(os.path.join(folder, "left_behind"), "w"):
            pass
        assert not _is_clean(*repository)
    assert _is_clean(*repository)


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError, subprocess.CalledProcessError(1, "something else")])
def test_a_worktree_is_removed_after_an_error(repository, error):
    with pytest.raises(error if isinstance(error, type) else type(error)), checkout.worktree("HEAD~1"):
        raise error
    assert _is_clean(*repository)


def test_changes_of_tracked_files_are_named(repository):
    root, _ = repository
    commit = _git(root, "rev-parse", "--short", "HEAD")
    assert checkout.commit() == _git(root, "rev-parse", "HEAD")
    (root / "untracked").write_text("")
    assert checkout.short_name(str(root)) == commit
    (root / "vitgan_tf" / "__init__.py").write_text("newer")
    assert checkout.short_name(str(root)) == f"{commit}-dirty"


def test_a_commit_that_cannot_be_checked_out_is_an_error_of_one_line(repository, monkeypatch):
    root, temporary = repository
    for revision in ("no_such_commit", "--all", ""):
        with (
            pytest.raises(UserError, match=f"^'{revision}' is no commit in .*repository$"),
            checkout.worktree(revision),
        ):
            pass
    # The file is gone from the repository.
    found = _git(root, "rev-parse", "HEAD:vitgan_tf/__init__.py")
    os.remove(root / ".git" / "objects" / found[:2] / found[2:])
    with pytest.raises(UserError, match=r"^cannot check out [0-9a-f]{40}: .+$"), checkout.worktree("HEAD"):
        pass
    assert _is_clean(*repository)
    monkeypatch.setenv("PATH", str(temporary))
    with pytest.raises(UserError, match="git, which is not installed"), checkout.worktree("HEAD"):
        pass


def test_an_installed_package_has_no_commits(repository, monkeypatch):
    """Neither outside of every checkout nor in the untracked environment of another project."""
    root, temporary = repository
    for folder in (root / "environment" / "vitgan_tf", temporary / "vitgan_tf"):
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
        monkeypatch.setattr(checkout, "ROOT", str(folder.parent))
        monkeypatch.setattr(checkout, "_PACKAGE", str(folder))
        assert checkout.commit() is None
        with pytest.raises(UserError, match=f"{folder.parent} is no checkout of it$"), checkout.worktree("HEAD"):
            pass
