"""
What a path in the workspace means: input, submission, cancel request, ours, ignored, or nothing to us.

The rule (file contract, section 1), for POSIX paths relative to the workspace's
root:

1. A name that a rule of `ignored` is against is ignored, whatever else it looks like.
2. Below the root's `jobs/` lie submissions (`<id>.json`) and cancel requests
   (`<id>.cancel`), never inputs; below its `presets/` lie presets, and nothing else.
3. A name that ends in `_input.txt`, `_input.md`, `research_prompt.txt` or
   `research_prompt.md`, with something before that, is an input. What comes before
   `_input` / `_prompt`, with its folder, is the conversation; its last word says the
   kind, and a last word that is no kind says chat. Letter case does not matter, neither
   in the ending nor in that word; files beside an input take its name as it is written.
4. What the daemon writes beside an input is ours.

On Linux two spellings are two files; elsewhere, and for a person, names that differ
only in letter case or Unicode normal form are one: `key` says which are.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from rlmwatch.contract.ignored import ignored
from rlmwatch.contract.kinds import Kind

JOBS: Final = "jobs"
"""The folder at the workspace's root with status files, submissions and cancel requests."""

PRESETS: Final = "presets"
"""The folder at the workspace's root with presets: nothing in it is a question."""

MAX_STEM_BYTES: Final = 200
"""
Longest conversation name without its folder, in UTF-8 bytes.

A file name holds 255 on nearly every file system; the longest that we add is
`_session.json.corrupt-<time>`, some 40. A longer one would be answered, paid for, and then not stored.
"""

STATUS_TEXT: Final = "rlmwatch_status.txt"
"""At the workspace's root: who answers there, where several machines share it."""

_IN_JOBS: Final = f"{JOBS}/"
_IN_PRESETS: Final = f"{PRESETS}/"
_KINDS: Final = {kind.value: kind for kind in Kind}

_INPUT_ENDINGS: Final = ("_input.txt", "_input.md", "research_prompt.txt", "research_prompt.md")
_OUR_ENDINGS: Final = (
    "_output.txt",
    "_output.md",
    "_output.partial.txt",
    "_output.partial.md",
    "_output.json",
    "_error.txt",
    "_state.json",
    "_session.json",
    "_sources.json",
    "_transcript.md",
)
_TAIL: Final = max(map(len, _INPUT_ENDINGS + _OUR_ENDINGS))
_MOVED_ASIDE: Final = re.compile(r"_(?:state|session)\.json\.corrupt-[^/]+\Z")
_JOB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


@dataclass(frozen=True, slots=True)
class InputName:
    """
    The name of an input, and of everything that belongs to it.

    Attributes:
        path: The input.
        kind: The kind that the name says (front matter may say another).
        conversation: Folder and the part before `_input` / `_prompt`.
        suffix: `.txt` or `.md`, in the letter case of the input; the output takes it.
    """

    path: str
    kind: Kind
    conversation: str
    suffix: str

    @property
    def output(self) -> str:
        """Where the answer lands."""
        return f"{self.conversation}_output{self.suffix}"

    @property
    def json_output(self) -> str:
        """Where an answer in JSON lands too."""
        return f"{self.conversation}_output.json"

    @property
    def partial_output(self) -> str:
        """Where the answer so far shows with `stream: true`."""
        return f"{self.conversation}_output.partial{self.suffix}"

    @property
    def state(self) -> str:
        """Where the conversation's memory is kept."""
        return f"{self.conversation}_{'session' if self.kind is Kind.RESEARCH else 'state'}.json"

    @property
    def error(self) -> str:
        """Where it is said why there is no answer."""
        return f"{self.conversation}_error.txt"

    @property
    def sources(self) -> str:
        """Where the fetched pages are listed."""
        return f"{self.conversation}_sources.json"

    @property
    def transcript(self) -> str:
        """Where every question and answer is kept to be read, with `transcript: true`."""
        return f"{self.conversation}_transcript.md"

    @property
    def data(self) -> str:
        """What becomes the variable `context` where it exists: a folder of this name, or this name with any ending."""
        return f"{self.conversation}_data"


@dataclass(frozen=True, slots=True)
class Submission:
    """`jobs/<job_id>.json`: a submission or the status of a run; its `status` and `task` tell which."""

    path: str
    job_id: str


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """`jobs/<job_id>.cancel`: somebody wants that run to end."""

    path: str
    job_id: str


@dataclass(frozen=True, slots=True)
class Ours:
    """A name that the daemon writes: never an input, and its changes start nothing."""

    path: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """
    A name that is passed over.

    Attributes:
        reason: Why, for the log and for a person.
    """

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Other:
    """A name that means nothing to us (a data file is one: it is read with its input)."""

    path: str


Name = InputName | Submission | CancelRequest | Ours | Ignored | Other


def classify(path: str) -> Name:
    """
    Say what *path* means; see the rule at the top. Total: any string gets an answer.

    Measured: 2 to 2.5 µs for a name that means nothing, 5 µs where each file has a folder of its own.
    """
    if reason := ignored(path):
        return Ignored(path, reason)
    if path.startswith(_IN_JOBS):
        return _of_a_job(path)
    if path.startswith(_IN_PRESETS):
        return Ignored(path, "presets are no questions: it lies in presets/")
    tail = path[-_TAIL:].lower()
    if tail.endswith(_INPUT_ENDINGS):
        return _input(path)
    if tail.endswith(_OUR_ENDINGS) or path == STATUS_TEXT or (".corrupt-" in path and _MOVED_ASIDE.search(path)):
        return Ours(path)
    return Other(path)


def input_name(path: str) -> InputName | None:
    """Return *path* as an input's name, or None where it is none."""
    if not path[-_TAIL:].lower().endswith(_INPUT_ENDINGS):  # before anything dear: most names of a folder are no inputs
        return None
    name = classify(path)
    return name if isinstance(name, InputName) else None


def key(path: str) -> str:
    """Return what the names of one conversation's input have in common: no letter case, and Unicode's form NFC."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _input(path: str) -> InputName | Ignored | Other:
    before, _, last = path.rpartition("_")
    ending, _, suffix = last.rpartition(".")
    stem = before.rpartition("/")[2]
    word = stem.rpartition("_")[2].lower()
    in_the_workspace = not path.startswith("/") and "//" not in path
    if not stem or not in_the_workspace or (ending.lower() == "prompt" and word != Kind.RESEARCH):
        return Other(path)
    try:
        size = len(stem.encode())
    except UnicodeEncodeError:  # how the file system's bytes appear where they are no UTF-8
        return Ignored(path, "its name is not UTF-8: rename it")
    if size > MAX_STEM_BYTES:
        return Ignored(path, f"its name is too long for those of its answers: at most {MAX_STEM_BYTES} bytes")
    return InputName(path, _KINDS.get(word, Kind.CHAT), before, f".{suffix}")


def is_job_id(text: str) -> bool:
    """Whether *text* may be the id of a run, or its beginning."""
    return bool(_JOB_ID.match(text))


def _of_a_job(path: str) -> Submission | CancelRequest | Ignored | Other:
    name = path.removeprefix(_IN_JOBS)
    job_id, dot, suffix = name.rpartition(".")
    if "/" in name or not dot or suffix not in ("json", "cancel"):
        return Other(path)
    if not is_job_id(job_id):
        return Ignored(path, "no job's name: at most 100 of A-Z a-z 0-9 . _ -, the first a letter or a digit")
    return Submission(path, job_id) if suffix == "json" else CancelRequest(path, job_id)
