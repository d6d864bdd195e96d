"""docs/fidelity.md stays true: what it names exists, and what can be chosen is named."""

import ast
import pathlib
import re

import pytest

from vitgan_tf.config import field_paths
from vitgan_tf.presets import VARIANTS

ROOT = pathlib.Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
CODE = re.findall(r"`([^`]+)`", PAGE)


def _definitions(path):
    """Names of a module: classes, functions, methods as Class.method, and assigned names."""
    names = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)}
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize("reference", sorted({text for text in CODE if "::" in text}))
def test_named_object_exists(reference):
    path, name = reference.split("::")
    assert name in _definitions(path)


def test_named_fields_and_variants_exist_and_no_choice_is_missing():
    sections = {path.split(".")[0] for path, _, _ in field_paths()}
    named = {text for text in CODE if re.fullmatch(rf"({'|'.join(sections)})\.\w+", text)}
    paths = {path: field for path, field, _ in field_paths()}
    assert named <= set(paths)
    choices = {
        path
        for path, field in paths.items()
        if path.split(".")[0] in ("generator", "discriminator", "loss", "augment") and field.metadata["choices"]
    }
    assert choices <= named
    variants = {text.split("=")[1] for text in CODE if text.startswith("--variant=")}
    assert variants and variants <= set(VARIANTS)


def test_every_row_names_code_and_a_test():
    tables = re.findall(r"^\| (?:paper|fault) \|.*\n\| ---.*\n((?:\|.*\n)+)", PAGE, flags=re.MULTILINE)
    rows = [row for table in tables for row in table.splitlines()]
    assert len(tables) == 7 and len(rows) > 30
    for row in rows:
        assert "`vitgan_tf/" in row and "`tests/" in row, row[:80]
