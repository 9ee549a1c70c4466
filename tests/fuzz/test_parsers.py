"""
Whatever strangers write, each parser gives a value or its own error, and never anything else.

`make test` tries a few hundred texts a parser, the same each time; `make fuzz` goes on with new ones for FUZZ_MINUTES.
A text that failed is kept as an `@example`.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rlmwatch import clock
from rlmwatch.contract.documents import read_status, read_submission
from rlmwatch.contract.front_matter import split
from rlmwatch.contract.json_answer import NotJson, answer_in, read_schema
from rlmwatch.contract.memory import ChatState, read_edited, remarks
from rlmwatch.contract.names import InputName, Submission, classify
from rlmwatch.contract.presets import read_preset
from rlmwatch.contract.session import SessionState
from rlmwatch.contract.text import decode
from rlmwatch.engine.reply import read_reply
from rlmwatch.errors import ConfigError, InputError, WorkspaceError
from rlmwatch.models.openai.stream import Answer, Events, NotTheProtocol, value
from rlmwatch.printable import printable
from rlmwatch.runs.submitted import to_submission
from rlmwatch.sandbox.guest.frames import BadFrame, Buffer
from rlmwatch.settings.folder_file import read_folder_settings
from rlmwatch.settings.sources import load

MINUTES = float(os.environ.get("FUZZ_MINUTES", "0"))

odd_numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([10**400, -(10**400), 1e308, -0.0, 2**63, 2**64, float("inf"), float("nan")]),
)
values = st.recursive(
    st.none() | st.booleans() | odd_numbers | st.text() | st.sampled_from(["\ud800", "\x00", "\u202e", "9" * 6000]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=20), inner, max_size=5),
    max_leaves=20,
)
deep = st.builds(
    lambda char, times, end: char * times + end,
    st.sampled_from(["[", "{", '{"a":', "[[", "- ", "a: {", "(", "&a [", "*a ", "x=[", "[a.", "!!", "? "]),
    st.sampled_from([10, 1000, 20_000, 100_000]),
    st.sampled_from(["", "]", "}", "1"]),
)


def with_keys(*keys: str) -> st.SearchStrategy[str]:
    """Return JSON objects that hold some of *keys*, with values of any kind."""
    return st.dictionaries(st.sampled_from(keys), values, max_size=len(keys)).map(
        lambda found: json.dumps(found, ensure_ascii=False)
    )


def lines_of(*pieces: str) -> st.SearchStrategy[str]:
    """Return texts of lines that are made of *pieces* and of anything."""
    piece = st.sampled_from(pieces) | st.text(max_size=30)
    return st.lists(st.lists(piece, max_size=6).map("".join), max_size=12).map("\n".join)


json_texts = values.map(lambda value: json.dumps(value, ensure_ascii=False)) | deep | st.text()
chat_states = with_keys("schema_version", "conversation", "turns") | json_texts
sessions = with_keys("schema_version", "turns", "spent", "runs", "max_tokens", "max_cost_usd") | json_texts
statuses = (
    with_keys("schema_version", "job_id", "kind", "status", "outcome", "usage", "progress", "budget", "created_at")
    | json_texts
)
submissions = (
    with_keys("task", "data", "data_path", "tokens", "max_cost_usd", "webhook", "context", "job_id") | json_texts
)
heads = st.builds(
    lambda head, text: f"---\n{head}\n---\n{text}",
    lines_of(
        "model",
        "tokens",
        "vars:",
        "  a",
        "description",
        ": ",
        "&a ",
        "*a",
        "!!python/object:os.system ",
        "<<: ",
        "[",
        "{",
        '"',
    )
    | deep,
    st.text(max_size=20),
)
tomls = (
    lines_of("[chat]", "tokens", " = ", "host", '"', "[[", "]]", "'''", "{", "max_cost_usd_per_day", "9" * 6000) | deep
)
names = st.text(max_size=60) | st.lists(
    st.sampled_from(
        ["chat", "_input", ".txt", "/", "..", "jobs/", "_job", ".json", ".cancel", "\x00", "é", "e\u0301", "~"]
    ),
    max_size=8,
).map("".join)
replies = lines_of(
    "```", "```python", "~~~", "answer(", '"""', "'", "\\", ")", "<code>", "</code>", "<think>", "</think>"
)


def as_bytes(texts: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    """Return *texts* as a file may hold them: UTF-8, UTF-16, half surrogates, cut anywhere, or no text at all."""
    whole = st.builds(
        lambda text, how: text.encode(how, "surrogatepass"), texts, st.sampled_from(["utf-8", "utf-16", "utf-16-le"])
    )
    return whole | st.builds(lambda data, at: data[: at % (len(data) + 1)], whole, st.integers(0, 10_000)) | st.binary()


def toml(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rlmwatch.toml").write_bytes(raw)
        load(user_dir=folder / "none", workspace=folder, environ={})


def events(raw: bytes) -> None:
    stream, answer = Events(), Answer()
    found = [data for at in range(0, len(raw), 7) for data in stream.feed(raw[at : at + 7])]
    for data in (*found, *stream.end()):
        with suppress(NotTheProtocol):
            answer.take(value(data))
    answer.end()
    answer.tokens([])
    answer.reported_cost()
    answer.reported_input()


def frames(raw: bytes) -> None:
    buffer = Buffer()
    buffer.feed(raw)
    while buffer.next() is not None:
        pass


def submitted(raw: bytes) -> None:
    name = classify("jobs/a.json")
    assert isinstance(name, Submission)
    to_submission(name, raw, size=len(raw), max_bytes=1 << 20)


def named(path: str) -> None:
    found = classify(path)
    if isinstance(found, InputName):
        assert ".." not in found.output.split("/")
        assert classify(found.output) != found, f"{path}: the answer would be a question"


OWN = (InputError, ValueError, WorkspaceError)
TARGETS: dict[str, tuple[st.SearchStrategy[object], Callable[..., object], tuple[type[Exception], ...]]] = {
    "text": (as_bytes(st.text()), decode, (InputError,)),
    "head": (heads, split, (InputError,)),
    "name": (names, named, ()),
    "toml": (as_bytes(tomls), toml, (ConfigError,)),
    "chat state": (as_bytes(chat_states), lambda raw: read_edited(raw, ChatState), OWN),
    "digest": (
        as_bytes(chat_states),
        lambda raw: remarks(raw, file="a_input.txt"),
        OWN,
    ),
    "session": (
        as_bytes(sessions),
        lambda raw: read_edited(raw, SessionState),
        OWN,
    ),
    "status": (as_bytes(statuses), lambda raw: read_status(raw, job_id="a"), (InputError,)),
    "submission": (as_bytes(submissions), lambda raw: read_submission(raw, job_id="a"), (InputError,)),
    "job file": (as_bytes(submissions), submitted, ()),
    "reply": (replies, lambda text: read_reply(text, ended="length"), ()),
    "server-sent events": (
        as_bytes(
            lines_of("data: ", "data:", "event: x", ":", "id: 1", "[DONE]", '{"choices":[{"delta":{"content":"x"}}]}')
        ),
        events,
        (NotTheProtocol,),
    ),
    "frames": (
        st.builds(lambda size, data: size.to_bytes(4, "big") + data, st.integers(0, 2**32 - 1), as_bytes(json_texts))
        | as_bytes(json_texts).map(lambda data: len(data).to_bytes(4, "big") + data),
        frames,
        (BadFrame,),
    ),
    "terminal": (st.text(), printable, ()),
    "preset": (as_bytes(heads), lambda raw: read_preset("a", "presets/a.md", raw), (InputError,)),
    "folder settings": (
        tomls,
        lambda text: read_folder_settings(PurePosixPath("a/rlmwatch.toml"), text),
        (ConfigError,),
    ),
    "schema": (
        as_bytes(json_texts | with_keys("$ref", "$defs", "type")),
        lambda raw: read_schema(raw, "a"),
        (InputError,),
    ),
    "answer in JSON": (replies | json_texts, answer_in, (NotJson,)),
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_parser_gives_a_value_or_its_own_error(target: str, capsys: pytest.CaptureFixture[str]):
    """No text makes a parser raise anything but the error that it promises."""
    texts, parse, own = TARGETS[target]
    tried = 0

    def once(text: object) -> None:
        nonlocal tried
        tried += 1
        with suppress(*own):
            parse(text)

    def attempt(how: settings) -> None:
        given(texts)(how(lambda text: once(text)))()  # noqa: PLW0108 (hypothesis marks the function that it is given)

    quick = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=200, derandomize=True)
    attempt(quick)
    if not MINUTES:
        return
    long = settings(
        deadline=None,
        suppress_health_check=list(HealthCheck),
        max_examples=2000,
        phases=(Phase.generate, Phase.shrink),
        database=None,
    )
    until = clock.monotonic() + MINUTES * 60 / len(TARGETS)
    while clock.monotonic() < until:
        attempt(long)
    with capsys.disabled():
        print(f"{clock.utc()} {target}: {tried} texts tried")
