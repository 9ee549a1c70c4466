"""`~` in paths that people write."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import rlmwatch
from rlmwatch.errors import UsageError
from rlmwatch.settings.user_folders import expanded

EXPAND = {"settings/user_folders.py", "settings/model.py"}
"""Where `expanduser` may stand: here, and where a validator says what is wrong with the whole setting."""


def test_a_home_that_nobody_has_is_told():
    """`~name` of no user is a usage error that says what to write, and no traceback."""
    with pytest.raises(UsageError, match="write the whole path"):
        expanded(Path("~no-such-user-here/notes"))


def test_nobody_else_expands_a_home():
    """Every other path of a person goes through `expanded`, which tells what is wrong."""
    package = Path(rlmwatch.__file__).parent
    found = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "expanduser"
    }
    assert found == EXPAND
