"""`vitgan COMMAND`, and how messages name a command to the user."""

import ast
import importlib
import logging as standard_logging
import pathlib
import re
import sys

import pytest
from absl import flags, logging
from support.commands import ROOT

import vitgan_tf
from vitgan_tf.commands.main import main
from vitgan_tf.invocation import SCRIPTS, invocation


@pytest.fixture(autouse=True)
def _logs_as_before():
    """A command line owns its process, and leaves the log lines of INFO shown."""
    verbosity, root, logger = logging.get_verbosity(), standard_logging.getLogger(), logging.get_absl_logger()
    handlers, filters = list(root.handlers), list(logger.filters)
    yield
    logging.set_verbosity(verbosity)
    root.handlers[:], logger.filters[:] = handlers, filters


def _main(monkeypatch, capsys, *arguments):
    """Exit code and output."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/vitgan", *arguments])
    code = 0
    try:
        main()
    except SystemExit as error:
        code = error.code
    return code, capsys.readouterr()


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_without_a_command_all_are_listed(monkeypatch, capsys, arguments):
    code, output = _main(monkeypatch, capsys, *arguments)
    assert code == 0 and output.err == ""
    assert re.findall(r"^  (\S+)  +\w", output.out, flags=re.MULTILINE) == list(SCRIPTS)


def test_version(monkeypatch, capsys):
    code, output = _main(monkeypatch, capsys, "--version")
    assert code == 0 and re.fullmatch(rf"vitgan_tf {vitgan_tf.__version__} \(TensorFlow 2\.15\.\d+\)\n", output.out)


def test_an_unknown_command_is_a_line_with_the_nearest_name(monkeypatch, capsys):
    code, output = _main(monkeypatch, capsys, "evalaute", "--model=x")
    assert code == 1 and output.out == ""
    assert output.err.startswith("vitgan: there is no command 'evalaute'; did you mean 'evaluate'? (available: run,")


def test_commands_start_one_after_the_other_in_one_process(monkeypatch, capsys):
    names, documentation = set(flags.FLAGS), sys.modules["__main__"].__doc__
    for arguments, expected in (
        (["run", "--dry_run"], "0"),
        (["run", "--dry_run", "--batch_size=many"], "FATAL Flags parsing error: flag --train.batch_size=many"),
        (["report"], "vitgan report: give one run directory: /usr/bin/vitgan report RUN\n"),
        (["run", "--dry_run"], "0"),
    ):
        code, output = _main(monkeypatch, capsys, *arguments)
        assert (output.err or str(code or 0)).startswith(expected)
        assert sys.argv == ["/usr/bin/vitgan", *arguments] and sys.modules["__main__"].__doc__ == documentation
        assert not {"dry_run", "output", "dataset"} & set(flags.FLAGS) and names <= set(flags.FLAGS)


@pytest.mark.parametrize("command, script", SCRIPTS.items())
def test_every_command_is_a_module_and_a_script_of_a_few_lines(command, script):
    module = importlib.import_module(f"vitgan_tf.commands.{command.replace('-', '_')}")
    assert callable(module.define_flags) and callable(module.main)
    # The help shows the words that start the command in place of these.
    assert f": vitgan {command}" in module.__doc__.splitlines()[0]
    text = (ROOT / script).read_text(encoding="utf-8")
    assert len(text.splitlines()) < 12 and text.endswith(f'start("{command}")\n')


@pytest.mark.parametrize(
    "program, expected",
    [
        ("/opt/venv/bin/vitgan run", "vitgan prepare-data"),
        ("python -m vitgan_tf run", "python -m vitgan_tf prepare-data"),
        ("/usr/lib/python3/site-packages/pytest", "vitgan prepare-data"),
        ("experiments/run.py", "python tools/prepare_data.py"),
        (f"{ROOT}/tools/report.py", f"python {ROOT}/tools/prepare_data.py"),
        # A script of somebody else.
        ("elsewhere/run.py", "vitgan prepare-data"),
        ("/no/such/checkout/experiments/run.py", "vitgan prepare-data"),
    ],
)
def test_advice_names_the_command_in_the_users_way(monkeypatch, program, expected):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [program])
    monkeypatch.setattr("shutil.which", lambda name: "/opt/venv/bin/vitgan")
    assert invocation("prepare-data") == expected


def test_a_program_that_is_not_on_the_path_is_named_with_its_folder(monkeypatch):
    monkeypatch.setattr(sys, "argv", [".venv/bin/vitgan run"])
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert invocation("evaluate") == ".venv/bin/vitgan evaluate"


def _messages(path):
    """The strings of a module, but for docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
    ]


def test_messages_name_no_file_that_a_wheel_lacks():
    package = pathlib.Path(vitgan_tf.__file__).parent
    found = {
        f"{path.name}: {text}"
        for path in sorted(package.rglob("*.py"))
        if path.name != "invocation.py"
        for text in _messages(path)
        # README.md is the name of a model card too.
        if re.search(r"\b(experiments|tools|docs|tests)/|\w\.md\b", text) and text != "README.md"
    }
    assert not found
