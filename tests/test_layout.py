"""The rooms of the package: imports run one way, files and functions stay short, runs are read without TensorFlow."""

import ast
import graphlib
import pathlib
import subprocess
import sys

import vitgan_tf

PACKAGE = pathlib.Path(vitgan_tf.__file__).parent
FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
# Each imports from those before it. All import config and modules outside of rooms.
ROOMS = [
    "layers",
    "models",
    "data",
    "evaluation",
    "runs",
    "trained",
    "drawing",
    "training",
    "reporting",
    "viewer",
    "benchmarks",
    "commands",
]
MAX_FILE_LINES, MAX_FUNCTION_LINES = 300, 40


def _imports(name):
    """Modules of the package that a module imports, at its beginning or in a function."""
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vitgan_tf"):
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in FILES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("vitgan_tf"))


def _room(name):
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else "outside"


def test_imports_run_one_way():
    graph = {name: set(_imports(name)) for name in FILES}
    assert sum(map(len, graph.values())) > 200
    list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the modules of a circle
    arrows = {(_room(name), _room(other)) for name, others in graph.items() for other in others}
    assert {room for room, other in arrows if other == "commands"} <= {"commands", "outside"}  # vitgan_tf.__main__
    for room, other in arrows:
        if room in ROOMS and other in ROOMS:
            assert ROOMS.index(other) <= ROOMS.index(room), f"{room} imports {other}"
    assert {other for room, other in arrows if room == "config"} == {"config", "outside"}
    assert {other for room, other in arrows if room == "presets"} == {"presets", "config"}


def test_files_and_functions_are_short():
    long = {
        name: size for name, path in FILES.items() if (size := len(path.read_text().splitlines())) > MAX_FILE_LINES
    }
    for name, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                first = node.body[0]
                has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
                documentation = first.end_lineno - first.lineno + 1 if has_docstring else 0
                lines = node.end_lineno - node.lineno + 1 - documentation
                if lines > MAX_FUNCTION_LINES:
                    long[f"{name}.{node.name}"] = lines
    assert not long


def test_the_files_of_a_run_are_read_without_tensorflow():
    code = (
        "import sys\n"
        "from vitgan_tf.reporting import sweep, tables\n"
        "from vitgan_tf.runs import directory, events, metrics\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
