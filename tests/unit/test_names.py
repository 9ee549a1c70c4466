"""One word means one thing, in the code as well."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import rlmwatch

PACKAGE = Path(rlmwatch.__file__).parent


def test_no_class_name_stands_twice():
    """A class's name is enough to find it: no two of the package's classes share one."""
    where: defaultdict[str, list[str]] = defaultdict(list)
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                where[node.name].append(str(file.relative_to(PACKAGE)))
    assert {"App", "Settings", "Run"} <= where.keys()
    assert {name: files for name, files in where.items() if len(files) > 1} == {}
