"""
Presets: options and a text that many questions share, one Markdown file each.

    ---
    description: German into good English
    temperature: 0.3
    vars:
      tone: plain
    ---
    Translate this into {{tone}} English, and add nothing:

    {{question}}

The rules:

1. The head takes what that of a question takes, and `description`. `preset` is an error there: no preset has another.
2. `{{question}}` in the text is the question; a text without it stands before the question. No text: the question
   alone.
3. `{{date}}` is the day of the save (UTC), `{{file}}` the question's file, `{{folder}}` its folder (`.` is the
   workspace's own); `{{name}}` is what `vars` says. A name that is none of these is an error. What is put in is not
   looked through again: a question may hold `{{file}}`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Final, Literal

from pydantic import TypeAdapter, ValidationError

from rlmwatch.contract import front_matter
from rlmwatch.contract.options import GIVEN_VARIABLES, PresetName, RunOptions
from rlmwatch.contract.text import decode, digest, is_blank
from rlmwatch.errors import InputError

ENDING: Final = ".md"
MAX_BYTES: Final = 64 * 1024
"""Of one preset: its head has 16 KB at most, and what is longer is material."""

MOST_CHARS: Final = 1_000_000
"""That variables come to in a text; a question that stands in it once or twice may be longer."""

_NAME: Final = TypeAdapter(PresetName)
_DESCRIPTION: Final = "description"
_VARIABLE: Final = re.compile(r"\{\{[ \t]*([A-Za-z][A-Za-z0-9_-]*)[ \t]*\}\}")
_NEARLY: Final = 0.6
_SHOWN: Final = 30
"""Names that an error lists; the rest is in `rlmwatch presets`."""


Origin = Literal["workspace", "user", "shipped"]
"""In which of the folders a preset is; the first that has one of the name wins."""


@dataclass(frozen=True, slots=True)
class Preset:
    """
    One preset.

    Attributes:
        name: Its file's, without the ending.
        where: Its file, for people.
        options: What its head sets.
        text: What stands below.
        description: One line on what it is for; `""` where nothing is said.
        digest: `sha256:<hex>` of the file's bytes.
        ignored: Keys of its head that belong to other programs.
        origin: In which of the folders it is.
    """

    name: PresetName
    where: str
    options: RunOptions
    text: str
    description: str = ""
    digest: str = ""
    ignored: tuple[str, ...] = ()
    origin: Origin = "workspace"


def read_preset(name: str, where: str, raw: bytes) -> Preset:
    """
    Return the preset *name* that stands in *raw*, the file *where*.

    Raises:
        InputError: It is too large, is not text, or its head is wrong; names the file, and line and column where known.
    """
    if len(raw) > MAX_BYTES:
        raise InputError(f"preset {name} ({where}): is larger than {MAX_BYTES // 1024} KB: make it shorter")
    try:
        text = decode(raw)
        parts = front_matter.split(text, texts=(_DESCRIPTION,))
    except InputError as error:
        raise InputError(f"preset {name} ({where}): {error}") from None
    if parts.options.preset is not None:
        raise InputError(f"preset {name} ({where}): `preset`: a preset cannot name another; delete the line")
    described = " ".join(parts.texts.get(_DESCRIPTION, "").split())
    body = "" if is_blank(parts.body) else parts.body.strip("\n")
    return Preset(name, where, parts.options, body, described, digest(raw), parts.ignored)


def fill(preset: Preset, question: str, *, path: str, variables: Mapping[str, str], day: str) -> str:
    """
    Return what is asked: the text of *preset* with *question* and variables in it; rules 2 and 3.

    Args:
        preset: The preset.
        question: The person's words.
        path: The question's file, in the workspace.
        variables: What `vars` says.
        day: Of the save, as `2026-11-28`.

    Raises:
        InputError: The text names a variable that nobody gives.
    """
    file, question = PurePosixPath(path), question.strip("\n")
    given = {**variables, "question": question, "date": day, "file": file.name, "folder": file.parent.as_posix()}

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name in given:
            return given[name]
        near = get_close_matches(name, given, n=1, cutoff=_NEARLY)
        hint = f"did you mean {{{{{near[0]}}}}}?" if near else f"there are {', '.join(sorted(given))}"
        raise InputError(
            f"preset {preset.name} ({preset.where}): {{{{{name}}}}} has no value: {hint} Write it below `vars:` in the "
            f"head of the question or of the preset, as `{name}: …`"
        )

    named = [found[1] for found in _VARIABLE.finditer(preset.text)]
    if sum(len(given.get(name, "")) for name in named) > max(MOST_CHARS, 2 * len(question)):
        raise InputError(f"preset {preset.name} ({preset.where}): it repeats its variables too often")
    asked = _VARIABLE.sub(value, preset.text)
    if GIVEN_VARIABLES[0] in named:
        return asked
    return f"{asked}\n\n{question}" if asked else question


def is_name(text: str) -> bool:
    """Whether *text* may be a preset's name, however its accents are stored."""
    try:
        _NAME.validate_python(unicodedata.normalize("NFC", text))
    except ValidationError:
        return False
    return True


def no_such(name: str, there: Iterable[str]) -> InputError:
    """Return the error for a preset *name* of which there is no file, where *there* are others."""
    names = sorted(set(there), key=str.casefold)
    by_key = {each.casefold(): each for each in names}
    near = [by_key[each] for each in get_close_matches(name.casefold(), by_key, n=3, cutoff=_NEARLY)]
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    listed = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return InputError(f"`preset`: there is no preset {name}; {meant}There are: {listed}")
