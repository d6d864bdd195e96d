"""Every message that names a flag: the command that says it takes the flag, with the value that it names."""

import ast
import pathlib
import re

import pytest
from absl import flags

import vitgan_tf
from vitgan_tf.commands.calls import command_module
from vitgan_tf.invocation import SCRIPTS

PACKAGE = pathlib.Path(vitgan_tf.__file__).parent
TRAINING = ("run", "benchmark")
LOADING = (*TRAINING, "evaluate")
SCORING = (*LOADING, "tables")
# The commands that say the messages of a module; the longest beginning of its name counts.
SAID_BY = {
    "benchmarks": ("benchmark",),
    "commands.benchmark": ("benchmark",),
    "commands.configuration": ("run", "benchmark", "tables"),
    "commands.compared": ("evaluate",),
    "commands.evaluate": ("evaluate",),
    "commands.export": ("export",),
    "commands.generate": ("generate",),
    "commands.models": ("evaluate", "export", "generate", "project", "view"),
    "commands.parsers": ("run", "tables", "benchmark", "prepare-data"),
    "commands.plugins": ("run", "tables", "evaluate", "benchmark", "report"),
    "commands.prepare_data": ("prepare-data",),
    "commands.project": ("project",),
    "commands.run": ("run",),
    "commands.tables": ("tables",),
    "commands.view": ("view",),
    "config.evaluation": ("run", "evaluate", "tables"),
    "data": (*LOADING, "prepare-data"),
    "data.cache": LOADING,
    "data.loading": LOADING,
    "data.preparation": ("prepare-data",),
    "data.reading": LOADING,
    "data.sources.lsun": ("prepare-data",),
    "drawing": ("generate",),
    "drawing.projections": ("project",),
    "evaluation": SCORING,
    "evaluation.evaluator": ("evaluate",),
    "presets": ("run", "tables", "benchmark", "prepare-data"),
    "reporting.candidates": ("evaluate",),
    "reporting.evaluation": ("evaluate",),
    "reporting.sweep": ("tables",),
    "reporting.tables": ("tables",),
    "runs.checkpoints": ("run",),
    "runs.directory": ("run",),
    "trained": ("export",),
    "trained.projection": ("project",),
    "training": ("run",),
    "viewer": ("view",),
}
# Words behind which a message speaks of other commands, and these.
ELSEWHERE = {
    r"train(ing)? or prep[a-z]+ with ": ("run", "prepare-data"),
    r"\btrain with ": ("run",),
    r"prep[a-z]+ with ": ("prepare-data",),
    r"`vitgan evaluate ": ("evaluate",),
    r"where it is prepared": ("prepare-data",),
    r"it was trained with ": ("run", "evaluate", "report"),
}
# Texts about flags in general, options of other programs, and parts of command lines.
NO_MESSAGES = {"--flags", "--help", "--version", "--name=value", "--xla_gpu_cuda_data_dir"}
COMMAND_LINES = ("checkout", "commands.plugins", "commands.run", "reporting.sweep", "benchmarks.scale")
FLAG = re.compile(r"(?<![\w-])--(?:no)?([a-z_]+(?:\.[a-z_]+)?)(?![\w.{-])(=[^\s;:,)]+(?:,[\w.-]+)*)?")


def _flags_of(command):
    given = flags.FlagValues()
    command_module(command).define_flags(given)
    return given


FLAGS = {command: _flags_of(command) for command in SCRIPTS}


def _texts(path):
    """Texts of a file with their lines, but for docstrings; a placeholder is {}."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    ignored = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            ignored.add(id(node.value))
    for node in ast.walk(tree):
        if id(node) in ignored:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            yield (
                node.lineno,
                "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values),
            )


def _messages():
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if module == "commands.flags":  # help texts
            continue
        for line, text in _texts(path):
            for match in FLAG.finditer(text):
                if match[0] not in NO_MESSAGES and not (match[0] == text and module in COMMAND_LINES):
                    yield pytest.param(module, text, match, id=f"{module}:{line}:{match[0]}")


def _commands(module, text, match):
    for words, commands in ELSEWHERE.items():
        found = re.search(words, text)
        if found and (found.start() < match.start() or words.startswith("where")):
            return commands
    if module == "data.instructions":  # behind the name of a command
        return ("prepare-data",)
    beginnings = [name for name in SAID_BY if module == name or module.startswith(f"{name}.")]
    assert beginnings, f"say in SAID_BY which commands say the messages of {module}"
    return SAID_BY[max(beginnings, key=len)]


@pytest.mark.parametrize("module, text, match", list(_messages()))
def test_the_command_takes_the_flag(module, text, match):
    name, value = match[1], (match[2] or "")[1:]
    for command in _commands(module, text, match):
        assert name in FLAGS[command], f"`{command}` says {text!r}"
        if re.fullmatch(r"[a-z0-9.,_-]*[a-z0-9]", value) and isinstance(
            FLAGS[command][name].parser, flags.ArgumentParser
        ):
            FLAGS[command][name].parser.parse(value)


def test_there_are_messages():
    assert sum(1 for _ in _messages()) > 60
