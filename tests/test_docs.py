"""The documents: their links lead somewhere, and the commands that they show have the flags."""

import pathlib
import re
import shlex

import pytest
from absl import flags

from vitgan_tf.commands.calls import command_module
from vitgan_tf.config import ConfigError
from vitgan_tf.invocation import SCRIPTS
from vitgan_tf.version import __version__

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "DESCRIPTION.md", "CONTRIBUTING.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
# Flags of absl, and of the scripts that a page defines itself.
GENERAL = {"help", "helpfull", "flagfile", "verbosity"}


def _anchor(heading):
    """GitHub's anchor of a heading."""
    text = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", ""))
    return text.strip().lower().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(_anchor, headings), f"{page.name}: {target}"


def _command_lines(page):
    """Commands of this project in the blocks of code, with their words."""
    blocks = re.findall(r"```(?:sh|)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    starts = {script: command for command, script in SCRIPTS.items()}
    for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
        line = line.split("   #")[0]
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue
        for index, word in enumerate(words):
            if word in starts or (word in SCRIPTS and words[index - 1].endswith("vitgan")):
                yield starts.get(word, word), words[index + 1 :]
                break


def _flags_of(command):
    given = flags.FlagValues()
    command_module(command).define_flags(given)
    return set(given)


FLAGS = {command: _flags_of(command) for command in SCRIPTS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_the_flags_that_pages_give_them(page):
    """Names and values are those that the commands take; words in capitals stand for the reader's own."""
    for command, words in _command_lines(page):
        if any(word.startswith("--plugin") for word in words):
            continue  # the plugin's own
        own = [word for word in words if re.search(r"=[A-Z_]+$", word)]
        for word in own:
            assert re.match(r"--([a-z0-9_.]+)=", word)[1] in FLAGS[command], f"{page.name}: {command} {word}"
        given = flags.FlagValues()
        command_module(command).define_flags(given)
        shown = [word for word in words if word not in own and word.split("=")[0].strip("-") not in GENERAL]
        try:
            given(["program", *shown])
        except (flags.IllegalFlagValueError, flags.UnrecognizedFlagError, ConfigError) as error:
            is_own = own and "must have a value other than None" in str(error)
            assert is_own, f"{page.name}: {command}: {error}"


def test_the_index_names_every_page():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name


def test_changelog_and_citation_name_the_version():
    assert f"\n## [{__version__}] - 20" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
