"""
From the head of an input to the options of its run.

    ---
    model: gpt-5
    max_cost_usd: 0.05
    context: [notes.txt, papers]
    ---
    The question.

The rules:

1. A head is there when the first line is `---` and a later line is `---`. A first
   `---` without a second is plain text.
2. A head is YAML, `key: value` lines. Anything else between the two lines is an
   error, which says how to write a head, and how to write a rule of Markdown in
   its place: with a blank line above it.
3. Keys that are not in `RunOptions` belong to other programs (`tags`, `aliases`,
   `created`): they are passed over, whatever their value, and named. One that is
   nearly ours is an error, or a ceiling that was misspelled would not hold.
4. A value must be what its key takes. What YAML 1.1 reads as something else than
   what stands there (`yes` as true, `010` as 8, `1:30` as 90) is an error, never a
   silent value.
5. Anchors, aliases and tags are refused: they are how a small head becomes a
   large value. So are a key of ours that comes twice, deep nesting, and more than
   16 KB.

Each error names line and column of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Final, NoReturn, Protocol

import yaml
from pydantic import ValidationError

from rlmwatch.contract.options import RunOptions
from rlmwatch.errors import InputError

MAX_HEAD_CHARS: Final = 16_384
"""A head with every option and a long system prompt needs a quarter; YAML's cost grows faster than its length."""

_MAX_DEPTH: Final = 8
"""Ours need 2, the mapping and a list in it; what other programs keep here is seldom deeper than 4."""

_FENCE: Final = "---"
_HEAD_BEGINS_AT_LINE: Final = 2
_HOW: Final = (
    "front matter is written as `key: value` lines between two `---` lines, such as `max_steps: 4`; "
    "where --- is meant as a rule in the text, leave a blank line above it"
)

EXPECTED: Final[Mapping[str, str]] = {
    "provider": "the name of a provider that your config.toml opens to workspaces, such as groq",
    "model": "the name of a model, such as gpt-5",
    "sub_model": "the name of a model, such as gpt-5-mini",
    "tokens": "a whole number above 0, such as 400",
    "max_steps": "a whole number above 0, such as 4",
    "max_tokens": "a whole number above 0, such as 1200",
    "max_cost_usd": "US dollars above 0, such as 0.05",
    "max_seconds": "seconds above 0, such as 90",
    "max_searches": "a whole number, 0 or more, such as 5",
    "temperature": "a number from 0 to 2, such as 0.7",
    "system": "a text",
    "handler": "one of chat, research, job, exa",
    "context": "a path, or a list of paths such as [notes.txt, papers]",
    "photos": "the path of an image, or a list such as [garden.jpg, shed.png]",
    "tools": "research, files, or both as [research, files]",
    "mode": "chat or rlm",
    "marks": "true or false",
    "stream": "true or false",
    "preset": "the name of a preset, such as editor; `rlmwatch presets` lists them",
    "vars": "lines `name: text` below it, each set in by blanks (a name has letters, digits, _ and -, and is not "
    "question, date, file or folder)",
    "schema": "the path of a JSON Schema, such as answer.json",
    "json": "true or false",
    "transcript": "true or false",
}
"""What each key takes, in a person's words; a test holds it against `RunOptions`."""

_TEXT_KEYS: Final = frozenset({"provider", "model", "sub_model", "system", "context", "photos", "preset", "schema"})
_TABLES: Final = frozenset({"vars"})
"""Keys whose value is `name: text` lines: each text is taken as it stands there, whatever YAML would read it as."""
_PLAIN_NUMBER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)?(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?\Z")
_MAX_NUMBER_CHARS: Final = 15
"""Below what a 64-bit column and a float hold exactly."""

_UNFIT: Final = re.compile("[\0\ud800-\udfff]")
"""What escapes in quotes can make and nothing can store."""

_MERGE_TAG: Final = "tag:yaml.org,2002:merge"
_NULL_TAG: Final = "tag:yaml.org,2002:null"
_STR_TAG: Final = "tag:yaml.org,2002:str"
_DATE_TAG: Final = "tag:yaml.org,2002:timestamp"
_NUMBER_TAGS: Final = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})
_READ_AS: Final = {
    "tag:yaml.org,2002:bool": "true or false",
    _DATE_TAG: "a date",
    **dict.fromkeys(_NUMBER_TAGS, "a number"),
}


_NEARLY: Final = 0.8
"""
Likeness (Ratcliff/Obershelp) from which a key is taken for a slip. Of 130 keys that Obsidian, Jekyll, Hugo, Pandoc and
Marp document, `content` alone is as near to one of ours; a key with one wrong, missing or added letter is.
"""

_WORD_BEGINS: Final = 4  # letters of ours that a shorter key must have, as `temp` for `temperature`


@dataclass(frozen=True, slots=True)
class SplitInput:
    """
    An input, cut at its head.

    Attributes:
        options: What the head sets.
        body: The text below it.
        ignored: Keys of the head that belong to other programs, in order.
        texts: What the head says of the keys that were asked for beside the options.
    """

    options: RunOptions
    body: str
    ignored: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)


class _Mark(Protocol):
    """A place in the head, as both of PyYAML's parsers say it."""

    @property
    def index(self) -> int: ...


def split(text: str, *, texts: Sequence[str] = ()) -> SplitInput:
    r"""
    Cut *text* (with `\n` line ends) at its head, in which *texts* may stand beside the options.

    Raises:
        InputError: There is a head, and it breaks a rule above.
    """
    head, body = _cut(text)
    if head is None:
        return SplitInput(RunOptions(), text)
    if len(head) > MAX_HEAD_CHARS:
        raise InputError(
            f"the front matter is longer than {MAX_HEAD_CHARS} characters: long material belongs in the data file; "
            "where --- is meant as a rule in the text, leave a blank line above it",
            line=1,
        )
    options, ignored, found = _options(head, texts)
    return SplitInput(options, body, ignored, found)


def _cut(text: str) -> tuple[str | None, str]:
    """Return what stands between the two fences, and what below; None and the whole text where there is no head."""
    first, newline, rest = text.partition("\n")
    if first.rstrip() != _FENCE or not newline:
        return None, text
    closing = re.search(r"^---[ \t]*(?:\n|\Z)", rest, re.MULTILINE)
    if closing is None:
        return None, text
    return rest[: closing.start()], rest[closing.end() :]


def _options(head: str, texts: Sequence[str]) -> tuple[RunOptions, tuple[str, ...], Mapping[str, str]]:
    try:
        root = _parse(head)
        if root is None:
            return RunOptions(), (), {}
        if not isinstance(root, yaml.MappingNode):
            _refuse(_HOW, head, root.start_mark)
        beside = {
            key.value: value.value
            for key, value in root.value
            if key.value in texts and isinstance(value, yaml.ScalarNode)
        }
        nodes = dict(_entries(root, head))
        known = {*nodes, *beside}
        ignored = tuple(dict.fromkeys(_shown(key.value) for key, _ in root.value if key.value not in known))
        given = {key: _value(key, node, head) for key, node in nodes.items()}
    except yaml.MarkedYAMLError as error:
        _refuse(f"{_told(error)}; {_HOW}", head, error.problem_mark or error.context_mark)
    except yaml.reader.ReaderError as error:
        line, column = _position(head, error.position)
        raise InputError(
            f"the character U+{error.character:04X} cannot stand in front matter", line=line, column=column
        ) from None
    try:
        return RunOptions.model_validate(given), ignored, beside
    except ValidationError as error:
        _refuse_value(error, nodes, head)


def _value(key: str, node: yaml.Node, head: str) -> object:
    if key not in _TABLES:
        return yaml.SafeLoader("").construct_object(node, deep=True)
    if not isinstance(node, yaml.MappingNode):
        _refuse(f"`{key}`: {_given(node)} was given, expected {EXPECTED[key]}", head, node.start_mark)
    table: dict[str, str] = {}
    for name, text in node.value:
        if not isinstance(name, yaml.ScalarNode) or not isinstance(text, yaml.ScalarNode) or _UNFIT.search(text.value):
            _refuse(f"`{key}`: expected {EXPECTED[key]}", head, name.start_mark)
        if name.value in table:
            _refuse(f"`{key}`: `{_shown(name.value)}` stands here a second time", head, name.start_mark)
        table[name.value] = text.value
    return table


def _parse(head: str) -> yaml.Node | None:
    """Return the head as a tree of nodes, none of which is more than what stands there."""
    depth = 0
    for event in yaml.parse(head, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent) or (isinstance(event, yaml.NodeEvent) and event.anchor):
            _refuse("anchors (&) and aliases (*) cannot be used: put quotes around a text", head, event.start_mark)
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag:
            _refuse("tags (!) cannot be used: put quotes around a text", head, event.start_mark)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            _refuse(f"lists and mappings are nested too deeply; {_HOW}", head, event.start_mark)
    root: yaml.Node | None = yaml.compose(head, Loader=yaml.SafeLoader)
    return root


def _entries(root: yaml.MappingNode, head: str) -> Iterator[tuple[str, yaml.Node]]:
    """Yield key and value of each line, in order, known to be ours and to be written plainly."""
    seen: dict[str, int] = {}
    for key_node, value in root.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        if key is None:
            _refuse(f"a key must be a word; {_HOW}", head, key_node.start_mark)
        if key_node.tag == _MERGE_TAG:
            _refuse("`<<` cannot be used: write the keys out", head, key_node.start_mark)
        if key not in RunOptions.model_fields:
            if (meant := _meant(key)) is not None:
                _refuse(f"unknown key `{_shown(key)}`: did you mean `{meant}`?", head, key_node.start_mark)
            continue
        if key in seen:
            _refuse(f"`{key}` stands here a second time, after line {seen[key]}", head, key_node.start_mark)
        seen[key], _ = _position(head, key_node.start_mark.index)
        for node in value.value if isinstance(value, yaml.SequenceNode) else (value,):
            _refuse_odd(key, node, head)
        yield key, value


def _meant(key: str) -> str | None:
    """Return the key of ours that *key* is a slip of; None where it belongs to another program."""
    word = re.sub(r"[-\s]+", "_", key.strip().lower())
    likeness = {ours: SequenceMatcher(None, word, ours).ratio() for ours in RunOptions.model_fields}
    best = max(likeness, key=lambda ours: likeness[ours])
    if likeness[best] >= _NEARLY or word.startswith("max_"):
        return best
    parts = [
        ours
        for ours in likeness
        if word.startswith(f"{ours}_")
        or word.endswith(f"_{ours}")
        or (len(word) >= _WORD_BEGINS and ours.startswith(word))
    ]
    return max(parts, key=lambda ours: likeness[ours], default=None)


def _refuse_odd(key: str, node: yaml.Node, head: str) -> None:
    """Pass a value that YAML reads as what stands there; rule 3."""
    if not isinstance(node, yaml.ScalarNode):
        return
    if node.tag == _NULL_TAG:
        _refuse(f"`{key}` has no value: expected {EXPECTED[key]}; or delete the line", head, node.start_mark)
    if node.tag == _STR_TAG:
        if _UNFIT.search(node.value):
            _refuse(f"`{key}` holds a NUL or half a character (\\0, \\ud800): delete it", head, node.start_mark)
        return
    shown = _shown(node.value)
    if key in _TEXT_KEYS:
        read_as = _READ_AS.get(node.tag, "something else than text")
        quote = f'put quotes around it: {key}: "{shown}"'
        _refuse(f"`{key}`: {shown} is read as {read_as}; {quote}", head, node.start_mark)
    if node.tag in _NUMBER_TAGS and not (_PLAIN_NUMBER.match(node.value) and len(node.value) <= _MAX_NUMBER_CHARS):
        _refuse(f"`{key}`: {shown} is not a plain number; expected {EXPECTED[key]}", head, node.start_mark)
    if node.tag not in _READ_AS or node.tag == _DATE_TAG:
        _refuse(f"`{key}`: {shown} was given, expected {EXPECTED[key]}", head, node.start_mark)


def _refuse_value(error: ValidationError, nodes: Mapping[str, yaml.Node], head: str) -> NoReturn:
    """Raise for the first value that is not what its key takes."""

    def node_of(place: tuple[int | str, ...]) -> yaml.Node:
        node = nodes[str(place[0])]
        if len(place) > 1 and isinstance(node, yaml.SequenceNode) and isinstance(place[1], int):
            return node.value[place[1]]  # type: ignore[no-any-return]  # types-PyYAML leaves it open
        return node

    places = [tuple(problem["loc"]) for problem in error.errors(include_url=False)]
    place = min(places, key=lambda place: node_of(place).start_mark.index)
    key, node = str(place[0]), node_of(place)
    quoted = isinstance(node, yaml.ScalarNode) and node.style in ("'", '"') and _PLAIN_NUMBER.match(node.value)
    hint = ", without quotes" if quoted and key not in _TEXT_KEYS else ""
    _refuse(f"`{key}`: {_given(node)} was given, expected {EXPECTED[key]}{hint}", head, node.start_mark)


def _given(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return f'"{_shown(node.value)}"' if node.style else _shown(node.value) or "nothing"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _shown(value: str) -> str:
    """Return the beginning of *value* on one line."""
    line = " ".join(value.split())
    return line if len(line) <= 60 else f"{line[:60]}…"  # noqa: PLR2004 (enough to find it by)


def _told(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or "this is not YAML"
    if "mapping values are not allowed" in problem:
        return "a text with a colon needs quotes around it"
    if "\\t" in problem:
        return "a tab cannot stand here: use spaces"
    return problem


def _refuse(text: str, head: str, mark: _Mark | None) -> NoReturn:
    line, column = _position(head, mark.index if mark else 0)
    raise InputError(text, line=line, column=column) from None


def _position(head: str, index: int) -> tuple[int, int]:
    """Return line and column in the file of the character *index* of the head."""
    before = head[:index]
    return before.count("\n") + _HEAD_BEGINS_AT_LINE, index - (before.rfind("\n") + 1) + 1
