r"""
What a question mentions: files, notes and web pages that go along with it.

    @notes.md   @"my file.md"   [[note]]   [[note#Heading|shown as]]   @https://example.org/page

The rules, for a text in which everything else stays prose:

1. Nothing counts in code: fenced and indented blocks, spans between backticks. Nor after a backslash (`\@`, `\[[`).
2. `@` begins a mention only where no letter, digit or sign of an address stands before it: `me@host.org` is prose. A
   letter of a script without spaces may stand there.
3. A plain `@path` ends at white space or a quotation mark. Punctuation at its end may belong to the sentence, so it has
   several readings, the longest first; which of them counts, the folder says. Where none is there, it is prose.
4. Explicit are `@"a path"` (in any double quotation marks, on one line), `[[…]]` and `@http(s)://…`: they name
   something, or are an error.
5. In `[[…]]` what follows `|` is for people, what follows `#` a heading, or headings one below the other. `[[#…]]`
   is a place in the question itself, brackets with a space inside (shells), lists of numbers (`[[1, 2]]`), what stands
   in quotation marks (`[["a"]]`) and classes of characters (`[[:space:]]`) are prose. Right behind a name, as in
   `frame[[column]]` of R, it is a mention only where there is such a file.

Which file a `[[name]]` is, as Obsidian decides it, stands in `resolve`; what lies below a heading in `section`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Literal

from rlmwatch.contract.code_masks import HIDDEN, mask
from rlmwatch.contract.names import key

MAX_READINGS = 8
"""Of one plain path: a bracket, a full stop and a quotation mark after it are three."""

_QUOTES = '"“”„«»'
_FULL_WIDTH = "\u3002\uff0c\u3001\uff1b\uff1a\uff01\uff1f\uff09\u3011\u300d"
_SENTENCE = ".,;:!?)]}>*_~|\u2026" + _FULL_WIDTH
"""Signs that may end a sentence, or a bracket around the mention, and are then none of its own."""
_ENDS = rf"\s{_QUOTES}'\u2018\u2019`<>{HIDDEN}"
_SCRIPTS_WITHOUT_SPACES = "\u2e80"
"""From here on (CJK), a letter may stand before `@` without being one of an address."""

_MENTION = re.compile(
    rf"""
      (?P<note> (?<!\\)\[\[ (?P<inside>[^\[\]\n]{{1,1000}}) \]\] )
    | @(?: "(?P<q1>[^"\n]{{1,1000}})" | \u201c(?P<q2>[^\u201c\u201d\n]{{1,1000}})\u201d
           | \u201e(?P<q3>[^\u201c-\u201e\n]{{1,1000}})[\u201c\u201d] )
    | @<?(?P<url>https?://[^\s<>{_QUOTES}{HIDDEN}]{{1,2000}})
    | @(?P<path>[^@{_ENDS}\\][^{_ENDS}]{{0,1000}})
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NUMBERS = re.compile(r"[\s\d.,+\-eE]*,[\s\d.,+\-eE]*")
_INDENTED = re.compile(r"(?: {4}|\t)")
_LIST = re.compile(r"\s*(?:[-*+]|\d{1,9}[.)])\s")
_HEADING = re.compile(r"(?m)^ {0,3}(#{1,6})[ \t]+([^\n]*)$")
_BLOCK_ID = re.compile(r"[A-Za-z0-9-]+")

MentionKind = Literal["path", "note", "page"]


@dataclass(frozen=True, slots=True)
class Mention:
    """
    One mention.

    Attributes:
        kind: `path`, `note` (in `[[…]]`) or `page` (an address).
        written: As it stands in the question.
        readings: What it may name, the likeliest first; one where it is explicit.
        headings: Where in the file, from the outer to the inner one; `^id` is a block.
        explicit: Whether it is an error where it names nothing.
    """

    kind: MentionKind
    written: str
    readings: tuple[str, ...]
    headings: tuple[str, ...] = ()
    explicit: bool = True


def mentions(text: str) -> list[Mention]:
    """Return what *text* mentions, in order, each once."""
    masked = _without_indented(mask(text)[0])
    found: dict[Mention, None] = {}
    for match in _MENTION.finditer(masked):
        mention = _mention(match, masked[match.start() - 1 : match.start()])
        if mention is not None:
            found[mention] = None
    return list(found)


def _mention(match: re.Match[str], before: str) -> Mention | None:
    if match["note"] is not None:
        return _note(match, explicit=not (before.isascii() and (before.isalnum() or before in tuple("_.)"))))
    if before and (before in "_@./\\+%=-" or (before.isalnum() and before < _SCRIPTS_WITHOUT_SPACES)):
        return None
    if match["url"] is not None:
        url = _without_sentence(match["url"])
        return Mention("page", f"@{url}", (url,)) if len(url) > len("https://") else None
    quoted = match["q1"] or match["q2"] or match["q3"]
    if quoted is not None:
        target = quoted.strip()
        if re.match(r"https?://", target, re.IGNORECASE):
            return Mention("page", match[0], (target,))
        return Mention("path", match[0], (target,)) if target else None
    path = match["path"]
    readings = [path]
    while readings[-1] and readings[-1][-1] in _SENTENCE and len(readings) < MAX_READINGS:
        readings.append(readings[-1][:-1])
    readings += [path.rstrip(_SENTENCE), re.split(f"[{_FULL_WIDTH}]", path, maxsplit=1)[0]]
    usable = tuple(each for each in dict.fromkeys(readings) if "://" not in each and any(map(str.isalnum, each)))
    return Mention("path", f"@{usable[-1]}", usable, explicit=False) if usable else None


def _note(match: re.Match[str], *, explicit: bool) -> Mention | None:
    inside = match["inside"]
    target, *headings = inside.partition("|")[0].removesuffix("\\").split("#")  # a table needs `\|`
    if not target.strip() or target != target.lstrip() or inside != inside.rstrip() or _NUMBERS.fullmatch(inside):
        return None
    if inside[0] == inside[-1] and inside[0] in ":\"'":
        return None
    return Mention(
        "note", match[0], (target.strip(),), tuple(each.strip() for each in headings if each.strip()), explicit
    )


def _without_sentence(url: str) -> str:
    """Return *url* without the punctuation of the sentence around it; a bracket that it opened is its own."""
    while url and url[-1] in _SENTENCE and not (url[-1] == ")" and url.count("(") >= url.count(")")) and url[-1] != "_":
        url = url[:-1]
    return url


def _without_indented(masked: str) -> str:
    """Return *masked* with its indented blocks of code emptied: such a line follows a blank one, outside of a list."""
    lines = masked.split("\n")
    in_list = in_code = False
    after_blank = True
    for at, line in enumerate(lines):
        if not line.strip():
            after_blank = True
            continue
        indented = _INDENTED.match(line) is not None
        in_code = indented and not in_list and (after_blank or in_code)
        if in_code:
            lines[at] = ""
        else:
            in_list = _LIST.match(line) is not None or (in_list and (indented or not after_blank))
        after_blank = False
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """A name that several files have, none of them nearest."""

    paths: tuple[str, ...]


def candidates(target: str, folder: str) -> Iterator[str]:
    """
    Yield where the file *target* of a question in *folder* may be, nearest first: there, then in each folder above.

    Only the folder's text is looked at; `..` is resolved, and what leads out of the workspace is left out. A path
    that begins with `/` is looked for nowhere.
    """
    if target.startswith(("/", "~")) or "\0" in target:
        return
    seen = set()
    above = PurePosixPath(folder)
    for start in (above, *above.parents):
        path = _normal(start / target)
        if path is not None and path not in seen:
            seen.add(path)
            yield path


def _normal(path: PurePosixPath) -> str | None:
    """Return *path* without `.` and `..`; None where it leads out of the workspace, or is its root."""
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts) or None


def by_keys(paths: Iterable[str]) -> dict[str, list[str]]:
    """Return *paths* by what they are compared by, for `resolve`."""
    found: dict[str, list[str]] = {}
    for path in paths:
        found.setdefault(key(path), []).append(path)
    return found


def resolve(target: str, folder: str, by_key: Mapping[str, Sequence[str]]) -> str | Ambiguous | None:
    """
    Return the file that `[[target]]` is, in a question in *folder*; *by_key* has those of the workspace (`by_keys`).

    1. The nearest: at that place from the question's folder, else from the folders above it, up to the root.
    2. Else the only one in the workspace whose path ends so; several are `Ambiguous`.
    3. Without an ending of its own, `.md` is meant, and before that a file that has just this name.
    4. Letter case does not matter, nor how accents are stored.
    """
    for wanted in (target, f"{target}.md"):
        for near in candidates(wanted, folder):
            if found := by_key.get(key(near)):
                return found[0] if len(found) == 1 or near not in found else near
    endings = {f"/{key(wanted.lstrip('/'))}" for wanted in (target, f"{target}.md")}
    elsewhere = sorted(path for each, paths in by_key.items() if _ends(each, endings) for path in paths)
    if len(elsewhere) > 1:
        return Ambiguous(tuple(elsewhere))
    return elsewhere[0] if elsewhere else None


def _ends(path: str, endings: Iterable[str]) -> bool:
    return any(f"/{path}".endswith(ending) for ending in endings)


def nearest(target: str, paths: Iterable[str]) -> list[str]:
    """Return those of *paths* whose names look most like *target*, at most three, the likest first."""
    by_name: dict[str, str] = {}
    for path in paths:
        name = key(PurePosixPath(path).name)
        by_name.setdefault(name, path)
        by_name.setdefault(name.removesuffix(".md"), path)
    likest = get_close_matches(key(PurePosixPath(target).name), by_name, n=6, cutoff=0.6)
    return list(dict.fromkeys(by_name[name] for name in likest))[:3]


def section(text: str, headings: Sequence[str]) -> str | None:
    """
    Return what of the Markdown *text* stands below *headings*, with the heading; None where one is not there.

    A section ends before the next heading of its own level or a higher one. `^id` is the paragraph that ends so.
    """
    for heading in headings:
        part = _block(text, heading[1:]) if heading.startswith("^") else _below(text, heading)
        if part is None:
            return None
        text = part
    return text


def headings_of(text: str) -> list[str]:
    """Return the headings of *text*, in order."""
    return [_title(text, match) for match in _headings(text)]


def _headings(text: str) -> list[re.Match[str]]:
    return list(_HEADING.finditer(mask(text)[0]))


def _title(text: str, match: re.Match[str]) -> str:
    """Return what the heading *match* says, without the signs that may close it."""
    return text[match.start(2) : match.end(2)].rstrip(" \t").rstrip("#").rstrip(" \t")


def _below(text: str, heading: str) -> str | None:
    found = _headings(text)
    wanted = _words(heading)
    at = next((n for n, match in enumerate(found) if _words(_title(text, match)) == wanted), None)
    if at is None:
        return None
    level = len(found[at][1])
    end = next((match.start() for match in found[at + 1 :] if len(match[1]) <= level), len(text))
    return text[found[at].start() : end].rstrip() + "\n"


def _words(heading: str) -> str:
    """Return *heading* as links to it are compared: Obsidian leaves out the signs that a link cannot hold."""
    return " ".join(key(re.sub(r"[#|^:%\[\]\\]", " ", heading)).split())


def _block(text: str, name: str) -> str | None:
    if not _BLOCK_ID.fullmatch(name):
        return None
    for paragraph in re.split(r"\n[ \t]*\n", text):
        if re.search(rf"(?:^|\s)\^{re.escape(name)}\s*\Z", paragraph):
            return re.sub(rf"\s*\^{re.escape(name)}\s*\Z", "", paragraph).strip("\n") + "\n"
    return None
