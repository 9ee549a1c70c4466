"""
Names that look meant for rlmwatch and are no input: what is wrong with each, and what the right name is.

Pure, and one table. A name is a near miss when

1. it is none of an input, a job file, ours, hidden, a backup, a lock, or a sync tool's conflict copy (`names.py`,
   `ignored.py`), and lies neither in `jobs/` nor in a folder of material (`…_data/`);
2. a rule of the table fits the whole name, whatever its letter case; and
3. the name that the rule makes of it is an input's name.

The rules are tight, since ordinary notes are full of these words: one wrong letter at most in one word, and the further
a name is from an input's, the fewer endings are looked at. `benchmarks/near_misses.py` counts the false alarms.

Beside a near miss stands a note (`note_of`), which `is_note` knows by its content alone: its last line holds a check
of all lines before. A note that a person has changed is theirs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from rlmwatch.contract.ignored import SECOND_COPY, ignored
from rlmwatch.contract.names import JOBS, PRESETS, Ignored, InputName, Other, classify, input_name

NOTE_ENDING: Final = ".note.txt"
NOTE_MAX_BYTES: Final = 4_000
"""Of a note: its text, and two names of at most 255 bytes, three times each."""
_NAME_BYTES: Final = 255
"""Of a file's name, on nearly every file system."""

_KIND = r"(?P<kind>chat|job|research|exa)"
_TEXT = r"\.(?P<ending>txt|md)"
_FORMATTED = r"\.(?P<other>rtfd?|docx?|odt)"
_SPELLED_OTHERWISE = r"\.(?P<other>text|markdown|mdown|mkd)"
_MISSPELT = r"(?:[. ]|\.(?:tx|tt|xt|txtt|txxt|ttxt|txet|ttx|xtt|tct|tzt|txr|txy|rxt|yxt|td|mdd|mmd|dm))?"
"""Endings that a finger beside the key makes of `.txt` and `.md`; those of other programs (`.tex`, `.txz`) are none."""
_COPY = r"(?P<copy> ?\(\d{1,3}\)| \d{1,3}|(?: - | |-|_)(?:copy|kopie)(?: ?\(?\d{1,3}\)?)?)"
_NUMBERED = r"(?P<copy>[-_]?v?\d{1,3}|[-_](?:new|final))"
_ITS_WORD = r"(?P<word>input|(?<=research.)prompt|(?<=research)prompt)"
_DASHES = "-‐‑‒–—"  # noqa: RUF001 (what text programs make of a hyphen)


@dataclass(frozen=True, slots=True)
class NameRule:
    """
    One line of the table.

    Attributes:
        pattern: Of the whole name without its folder. Its groups make the right name: `before` and `kind`, or `name`,
            which is both; `word`; `ending`; `copy`, the number of a copy.
        wrong: What is wrong with such a name, for a person.
        examples: Some names, for docs and tests.
        misspelt: The groups in which one wrong letter is put right, and must be.
        root: Whether it holds in the workspace's root alone.
        formatted: Whether the file is no plain text, so that another name is not enough.
    """

    pattern: str
    wrong: str
    examples: tuple[str, ...]
    misspelt: tuple[str, ...] = ()
    root: bool = False
    formatted: bool = False


_ANY = r"(?P<name>.+)_(?P<word>input|prompt)"
_OF_KIND = rf"(?P<before>(?:.+_)?){_KIND}_(?P<word>input|prompt)"

RULES: Final = (
    # Of two rules that fit, the one further up speaks.
    NameRule(
        rf"{_ANY}{_TEXT}(?:\.(?:txt|md|text|rtf|docx?|odt))+",
        "it has two endings, of which your system may hide the last",
        ("chat_input.txt.txt", "plan_input.md.txt"),
    ),
    NameRule(
        rf"{_ANY}{_FORMATTED}",
        "it is a word processor's file",
        ("chat_input.rtf", "plan_input.docx"),
        formatted=True,
    ),
    NameRule(rf"{_OF_KIND}\.(?P<other>pdf|pages)", "it is not plain text", ("chat_input.pdf",), formatted=True),
    NameRule(rf"{_ANY}{_SPELLED_OTHERWISE}", "its ending is not .txt or .md", ("chat_input.text", "a_input.markdown")),
    NameRule(rf"{_OF_KIND}{_MISSPELT}", "its ending is not .txt or .md", ("chat_input", "job_input.tx")),
    NameRule(
        rf"{_ANY} *\. *(?P<ending>txt|md)[ .]*",
        "its ending has a blank or a dot too many",
        ("chat_input .txt", "a_input.md."),
    ),
    NameRule(
        rf"{_KIND}(?:[{_DASHES} .+]+|){_ITS_WORD}(?:{_COPY})?{_TEXT}(?:\.(?:txt|md))?",
        "an underscore (_) belongs between its words",
        ("chat-input.txt", "Chat Input.txt", "researchprompt.md", "exa.input.txt"),
    ),
    NameRule(
        rf"{_KIND}[{_DASHES} ._+]*{_ITS_WORD}(?:{_COPY})?{_FORMATTED}",
        "it is a word processor's file, and an underscore (_) belongs between its words",
        ("Chat Input.docx",),
        formatted=True,
    ),
    NameRule(
        rf"(?P<before>[^\W_]+(?:[-_][^\W_]+)*[-_]){_KIND}[-_](?P<word>input|prompt)\.(?P<ending>txt)",
        "underscores (_) belong between its words",
        ("plan-job-input.txt", "liberty-research_prompt.txt"),
    ),
    NameRule(
        rf"(?P<name>.+)_(?P<word>[a-z]{{4,6}}){_TEXT}",
        "`input` is misspelt",
        ("chat_imput.txt", "plan_inptu.md"),
        misspelt=("word",),
    ),
    NameRule(
        rf"(?P<before>(?:.+_)?){_KIND}_(?P<word>input|prompt)s{_TEXT}",
        "there is an s too many",
        ("chat_inputs.txt", "research_prompts.md"),
    ),
    NameRule(
        rf"(?P<before>(?:.+_)?)(?P<kind>research)[-_](?P<word>[a-z]{{5,7}}){_TEXT}",
        "`prompt` is misspelt",
        ("research_promt.txt",),
        misspelt=("word",),
    ),
    NameRule(
        rf"(?P<before>(?:.+_)?)(?P<kind>[a-z]{{7,9}})_(?P<word>prompt){_TEXT}",
        "`research` is misspelt",
        ("reserch_prompt.txt",),
        misspelt=("kind",),
    ),
    NameRule(
        rf"(?P<before>(?:.+_)?)(?P<kind>chat|job|exa)[-_](?P<word>pro?m?pt){_TEXT}",
        "only research has a `_prompt`; here it is `_input`",
        ("exa_prompt.txt", "job_prompt.md"),
    ),
    NameRule(
        rf"(?P<name>.+)_(?P<word>input|prompt){_COPY}{_TEXT}",
        "it is a second copy",
        ("chat_input (1).txt", "plan_input - Copy.txt"),
    ),
    NameRule(
        rf"(?P<before>(?:.+_)?){_KIND}_(?P<word>input|prompt){_NUMBERED}{_TEXT}",
        "nothing may come between `input` and the ending",
        ("chat_input_2.txt", "exa_input2.md"),
    ),
    NameRule(rf"(?P<word>input|prompt)_{_KIND}{_TEXT}", "its words are the wrong way round", ("input_chat.txt",)),
    NameRule(rf"_(?P<word>input){_TEXT}", "a name belongs before `_input`", ("_input.txt",)),
    NameRule(
        r"(?P<word>input)\.(?P<ending>txt|md)(?:\.txt)?",
        "a name belongs before `input`, with an underscore (_)",
        ("input.txt", "Input.md"),
        root=True,
    ),
    NameRule(
        r"(?P<word>input)\.(?P<other>docx)",
        "it is a word processor's file, and a name belongs before `input`",
        ("input.docx",),
        root=True,
        formatted=True,
    ),
    NameRule(
        r"(?P<settings>rlmwatch)(?:\.toml\.txt|\.tml|\.ya?ml|\.ini|\.conf|\.cfg|[-_ ]?(?:config|settings)\.toml)",
        "the settings of a workspace have another name",
        ("rlmwatch.toml.txt", "rlmwatch.yaml"),
        root=True,
    ),
)
_COMPILED: Final = tuple((rule, re.compile(rule.pattern, re.IGNORECASE | re.DOTALL)) for rule in RULES)

_OTHER_WORDS: Final = frozenset({"inputs", "inout", "inbut", "prompts"})
"""One letter from `input` and `prompt`, and meant."""

SETTINGS: Final = "rlmwatch.toml"


@dataclass(frozen=True, slots=True)
class NearMiss:
    """
    A name that looks meant for rlmwatch.

    Attributes:
        path: The file.
        wrong: What is wrong with its name, for a person.
        right: The path that it should have; None where only the person can find one (it is too long).
        other: One that is free where there is a file at *right* already.
        formatted: Whether it must also be saved as plain text.
    """

    path: str
    wrong: str
    right: str | None = None
    other: str | None = None
    formatted: bool = False

    def cure(self, *, taken: bool) -> str:
        """Return what to do, in one sentence; *taken*: there is a file at `right` already. Names without folders."""
        if self.right is None:
            return "give it another name"
        how = "save it as plain text under the name" if self.formatted else "rename it to"
        right = _base(self.right)
        if not taken or self.other is None:
            return f"{how} {right}"
        return f"ask in {right}, which is there already, or {how} {_base(self.other)}"


def has_hint(low: str) -> bool:
    """
    Whether the name *low*, in lower case, holds what each input, near miss and note of one has in its name.

    Most names of a folder do not, and a walk asks this of each: written out, since a loop would triple its cost.
    """
    if "p" not in low:
        return low.startswith("rlmwatch")
    if "put" in low or "inp" in low or "prom" in low or "mpt" in low or "npt" in low:
        return True
    return "npu" in low or "ipnut" in low or "propt" in low or low.startswith("rlmwatch")


def near_miss(path: str) -> NearMiss | None:
    """
    Return what is wrong with *path* (POSIX, inside the workspace), where its name looks meant for rlmwatch.

    Measured: 0.5 µs for a name without a hint, 13 µs for one with; most names have none.
    """
    name = path.rpartition("/")[2]
    low = name.lower()
    if not has_hint(low) or low.endswith(NOTE_ENDING) or _elsewhere(path):
        return None
    verdict = classify(path)
    if isinstance(verdict, Ignored):
        if ignored(path) is None:  # an input's name, too long or not UTF-8
            return NearMiss(path, verdict.reason)
        if not verdict.reason.startswith((SECOND_COPY, "a conflict copy (OneDrive)")):
            return None
    elif not isinstance(verdict, Other):
        return None
    return _judged(path, name)


def note_of(path: str) -> str | None:
    """Return the path of the note beside the near miss *path*; None where its name would be too long."""
    note = path + NOTE_ENDING
    return note if len(_base(note).encode("utf-8", "surrogateescape")) <= _NAME_BYTES else None


def noted(path: str) -> str | None:
    """Return the file that *path* would be the note of, by its name; None where it has no note's name."""
    return (
        path.removesuffix(NOTE_ENDING) if path.endswith(NOTE_ENDING) and len(_base(path)) > len(NOTE_ENDING) else None
    )


def note_text(miss: NearMiss, *, taken: bool) -> str:
    """Return what the note beside *miss* says; *taken*: there is a file of the right name already."""
    shown = _base(miss.path).encode("utf-8", "replace").decode()
    cure = miss.cure(taken=taken).encode("utf-8", "replace").decode()
    body = (
        f"rlmwatch does not answer {shown}: {miss.wrong}.\n\n"
        f"To have it answered, {cure}.\n"
        "Nothing of it was sent to anybody.\n\n"
    )
    return f"{body}(rlmwatch wrote this note, and removes it when the file is gone or renamed: {_check(body)})\n"


def is_note(content: bytes) -> bool:
    """Whether *content* is a note as `note_text` wrote it, of this version or another, and nobody has changed it."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return False
    body, mark, last = text.rpartition("(rlmwatch wrote this note")
    return bool(mark) and last.endswith(f": {_check(body)})\n")


def _check(body: str) -> str:
    return sha256(body.encode()).hexdigest()[:12]


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _elsewhere(path: str) -> bool:
    """Whether *path* is where programs, presets and material are, and no questions."""
    folder = path.rpartition("/")[0]
    return f"{folder}/".startswith((f"{JOBS}/", f"{PRESETS}/")) or "_data/" in f"{folder}/"


def _judged(path: str, name: str) -> NearMiss | None:
    folder = path[: len(path) - len(name)]
    for rule, pattern in _COMPILED:
        if rule.root and folder:
            continue
        found = pattern.fullmatch(name)
        if found is None:
            continue
        right = _right(found.groupdict(), rule)
        if right is None:
            continue
        if right == SETTINGS:
            return NearMiss(path, rule.wrong, SETTINGS)
        named = input_name(folder + right)
        if named is not None:
            number = "".join(filter(str.isdigit, found.groupdict().get("copy") or "")) or "2"
            return NearMiss(path, rule.wrong, named.path, _numbered(named, number), rule.formatted)
    return None


def _right(parts: dict[str, str | None], rule: NameRule) -> str | None:
    """Return the right name, without its folder, from the *parts* of a wrong one; None where *rule* does not fit."""
    if parts.get("settings"):
        return SETTINGS
    word, kind = (parts.get("word") or "input").lower(), (parts.get("kind") or "").lower()
    if "word" in rule.misspelt:
        meant = "prompt" if kind else "input"
        if word in _OTHER_WORDS or not _one_edit(word, meant):
            return None
        word = meant
    if "kind" in rule.misspelt:
        if not _one_edit(kind, "research"):
            return None
        kind = "research"
    ending = (parts.get("ending") or ("md" if (parts.get("other") or "").lower().startswith("m") else "txt")).lower()
    if (name := parts.get("name")) is not None:
        return f"{name}_{word}.{ending}"
    word = "prompt" if kind == "research" and word.startswith("p") else "input"
    before = re.sub(r"-(?=[^-]*\Z)", "_", parts.get("before") or "")
    return f"{before}{kind or 'chat'}_{word}.{ending}"


def _numbered(right: InputName, number: str) -> str:
    """Return the name of another conversation beside *right*: `chat_2_input.txt`, `plan_2_job_input.txt`."""
    folder, slash, stem = right.conversation.rpartition("/")
    before, _, last = stem.rpartition("_")
    rest = right.path.removeprefix(right.conversation)
    of_kind = last.lower() == right.kind and right.kind != "chat"
    stem = "_".join(filter(None, (before, number, last))) if of_kind else f"{stem}_{number}"
    return f"{folder}{slash}{stem}{rest}"


def _one_edit(written: str, meant: str) -> bool:
    """Whether *written* is *meant* with one letter more, less or other, or two neighbours exchanged."""
    if written == meant or abs(len(written) - len(meant)) > 1:
        return False
    while written and meant and written[0] == meant[0]:
        written, meant = written[1:], meant[1:]
    while written and meant and written[-1] == meant[-1]:
        written, meant = written[:-1], meant[:-1]
    return max(len(written), len(meant)) == 1 or (len(written) == 2 and written == meant[::-1])  # noqa: PLR2004
