"""The `rlmwatch.toml` of a sub-folder (settings/folder_file.py)."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from rlmwatch.contract.kinds import Kind
from rlmwatch.errors import ConfigError
from rlmwatch.settings.folder_file import FOLDER_KEYS, REFUSED, read_folder_settings
from rlmwatch.settings.lines import line_of
from rlmwatch.settings.model import WORKSPACE_KEYS, Settings

PATH = PurePosixPath("a/rlmwatch.toml")


def test_1_it_sets_a_preset_and_options_for_a_kind():
    """A kind's own preset goes before that of the file."""
    found = read_folder_settings(PATH, 'preset = "editor"\n[job]\npreset = "summary"\ntokens = 5\nvars = { a = "b" }\n')
    assert found.options(Kind.CHAT).preset == "editor"
    assert (found.options(Kind.JOB).preset, found.options(Kind.JOB).tokens) == ("summary", 5)
    assert found.options(Kind.JOB).vars == {"a": "b"}


@pytest.mark.parametrize("key", sorted({*WORKSPACE_KEYS, *Settings.model_fields} - FOLDER_KEYS))
def test_2_what_holds_for_the_whole_workspace_is_refused_by_name_and_line(key: str):
    """Every setting that a sub-folder's file may not set is an error with its name and its line."""
    with pytest.raises(ConfigError, match=rf"a/rlmwatch\.toml, line 3: {key}: "):
        read_folder_settings(PATH, f"# first\n\n{key} = 1\n")


@pytest.mark.parametrize("key", REFUSED)
def test_2_what_only_a_question_says_for_itself_is_refused(key: str):
    """No file of a folder sends an image with every question, or has another kind answer them."""
    with pytest.raises(ConfigError, match=rf"a/rlmwatch\.toml, line 2: {key}: a question's own head"):
        read_folder_settings(PATH, f'[chat]\n{key} = "x"\n')


def test_2_the_line_is_that_of_the_key_below_a_list_of_several_lines():
    """The finder of lines is the one of all settings, which knows where a table begins."""
    with pytest.raises(ConfigError, match=r"line 5: chat\.tokens"):
        read_folder_settings(PATH, '[chat]\ncontext = [\n  "x",\n]\ntokens = "a"\n')


@pytest.mark.parametrize(
    ("text", "keys", "line"),
    [
        ("a = 1\nb = 2", ("b",), 2),
        ("[chat]\na = 1\n\n[ job ]  # x\n a = 2", ("job", "a"), 5),
        ("chat.a = 1\nchat.b = 2", ("chat", "b"), 2),
        ("[chat.vars]\nx = 1", ("chat", "vars", "x"), 2),
        ("[chat]\nvars = { x = 1 }", ("chat", "vars", "x"), 2),
        ('"b" = 1', ("b",), 1),
        ("# b = 1\nb = 2", ("b",), 2),
        ("x = 1", ("nowhere",), 1),
        ("=" * 60_000, ("a",), 1),
        (" " * 60_000, ("a",), 1),
        ("[" + " " * 60_000, ("a",), 1),
        ("a" + " " * 60_000 + "\"'" * 20_000, ("a",), 1),
    ],
)
def test_the_line_of_a_key(text: str, keys: tuple[str, ...], line: int):
    """The line that an error names is the one on which the key is written."""
    assert (line_of(text, ".".join(keys)) or 1) == line
