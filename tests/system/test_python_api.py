"""`run()` as a script calls it: plain calls and runs of the engine, limits, errors, threads, and nothing on the way."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from servers.openai_server import Answer, Fault, OpenAIServer, Reply
from system.harness import KEY, MODEL, PROGRAM, Home
from system.researching import Body, Coder, is_root, is_sub, is_synthesis, opening, roots

import rlmwatch
from rlmwatch import run
from rlmwatch.errors import (
    CeilingReached,
    InputError,
    LedgerError,
    NoProvider,
    ProviderRefused,
    ProviderUnavailable,
    RunTimeout,
    UnknownModel,
    UsageError,
    WrongKey,
)
from rlmwatch.runs.model import Outcome

THREADS = 6


class Talker(Coder):
    """A coder that is also asked plainly; `plain` is what it says then."""

    plain: Answer = "re"

    def __call__(self, body: Body) -> Answer:
        engine = is_root(body) or is_sub(body) or is_synthesis(body)
        return super().__call__(body) if engine else self.plain


@pytest.fixture
def coder() -> Talker:
    """What the model writes and says."""
    return Talker()


@pytest.fixture
def provider(coder: Talker) -> Iterator[OpenAIServer]:
    """A provider whose model is *coder*."""
    with OpenAIServer(coder) as server:
        yield server


@pytest.fixture(autouse=True)
def script(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process be a script of the person whose home it is."""
    for name in list(os.environ):
        if name.startswith(("RLMWATCH_", "OPENAI_", "OPENROUTER_", "EXA_", "XDG_")):
            monkeypatch.delenv(name)
    for name, value in home.environ().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(home.workspace)


def python(home: Home, program: str) -> subprocess.CompletedProcess[str]:
    """Run *program* in a Python of its own, as the person."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=home.environ(),
        cwd=home.workspace,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# Plain call or engine


def test_a_task_alone_is_one_plain_call(provider: OpenAIServer):
    """Without data, tools or steps a task is one request, and the result says what it used."""
    found = run("Say hello")
    assert (found.answer, found.partial, found.outcome, found.steps) == ("re", False, Outcome.SUCCESS, ())
    assert (found.usage.llm_calls, found.usage.cost_usd, found.model) == (1, 0.0, MODEL)
    assert found.usage.input_tokens > 0 < found.usage.output_tokens
    (call,) = provider.calls
    assert call.body["messages"][-1]["content"] == "Say hello"
    assert call.body["max_tokens"] == 200


def test_data_is_the_variable_context_and_stays_out_of_the_prompt(coder: Talker, provider: OpenAIServer):
    """With data a task is a run of the engine: the model's code counts what no prompt could hold."""
    coder.on("How many", "print(len(context))", "answer(context.count('x'))")
    found = run("How many x?", "y" * 300_000 + "xxx" + "z" * 300_000)
    assert (found.answer, found.outcome, len(found.steps)) == ("3", Outcome.SUCCESS, 2)
    assert found.steps[0].shown == "600003"
    assert max(len(str(body)) for body in roots(provider)) < 5_000


def test_texts_by_name_are_a_mapping(coder: Talker):
    """More than one text is handed over by name."""
    coder.on("Which", "answer(sorted(name for name in context if 'fox' in context[name]))")
    found = run("Which ones?", {"a.txt": "the fox", "b.txt": "the dog", "c.txt": "a fox"})
    assert json.loads(found.answer) == ["a.txt", "c.txt"]


@pytest.mark.parametrize("options", [{"max_steps": 2}, {"mode": "rlm"}], ids=["steps", "mode"])
def test_steps_or_the_mode_ask_for_the_engine(options: dict[str, Any], coder: Talker):
    """`max_steps` above 1, or `mode="rlm"`, runs code without any data."""
    coder.on("Seven", "answer(6 * 7)")
    found = run("Seven times six?", **options)
    assert (found.answer, len(found.steps)) == ("42", 1)


def test_the_mode_chat_is_one_plain_call_or_an_error(provider: OpenAIServer):
    """`mode="chat"` makes one plain call; with data, which one call cannot have, it makes none and says so."""
    assert run("Hello", mode="chat").steps == ()
    with pytest.raises(InputError, match="mode: chat"):
        run("Hello", "some data", mode="chat")
    assert provider.count == 1


# Limits


def test_a_run_at_its_limit_of_steps_gives_what_it_has(coder: Talker):
    """At the last step an answer is made of what was found: partial, and why."""
    coder.on("count", "print('a clue')")
    coder.synthesis = "a clue was found"
    found = run("count", "data", max_steps=2)
    assert (found.answer, found.partial, found.outcome) == ("a clue was found", True, Outcome.STEP_LIMIT)


def test_a_cap_in_tokens_is_not_exceeded(coder: Talker, provider: OpenAIServer):
    """A hundred sub-calls of 1,000 tokens under a cap of 5,000 use at most 5,000, and give a partial answer."""
    coder.on("all", "found = llm_batch([f'part {n}' for n in range(100)])\nprint(found[0])")
    coder.sub = lambda _body: "word " * 2_000
    coder.synthesis = "what fitted"
    found = run("all", "data", tokens=1_000, max_tokens=5_000)
    assert (found.answer, found.partial, found.outcome) == ("what fitted", True, Outcome.TOKEN_LIMIT)
    assert 4_000 < found.usage.output_tokens <= 5_000
    assert sum(call.body["max_tokens"] for call in provider.calls if not is_root(call.body)) <= 5_000


def test_the_ceiling_of_the_day_holds_over_all_runs(home: Home, coder: Talker, provider: OpenAIServer):
    """What runs of any script spent today counts: the run that would exceed the ceiling makes no call."""
    home.set(f'[ceilings]\nmax_cost_usd_per_day = 0.001\n[prices]\n"{MODEL}" = {{ input = 0.0, output = 1.0 }}\n')
    coder.plain = Reply("word " * 800)
    spent = sum(run("Long, please", tokens=200).usage.cost_usd or 0.0 for _ in range(5))
    with pytest.raises(CeilingReached) as caught:
        run("Long, please", tokens=200)
    made = provider.count
    assert caught.value.cap == "max_cost_usd_per_day"
    assert (made, spent) == (5, pytest.approx(0.001))
    with pytest.raises(CeilingReached):
        run("Long, please", "with data", tokens=200)
    assert provider.count == made


# What it tells on the way


def test_on_step_is_told_of_each_step_while_the_run_goes_on(coder: Talker, provider: OpenAIServer):
    """`on_step` hears of each step before the next one is asked for, sub-engines' included."""
    coder.on("whole", "x = rlm_query('the half', 'abc')\nprint(x)", "answer(x * 2)")
    coder.on("half", "print(len(context))", "answer(str(len(context)))")
    seen: list[tuple[str, int, str, int]] = []
    found = run("the whole", "data", on_step=lambda s: seen.append((s.path, s.step, s.ended, provider.count)))
    assert found.answer == "33"
    assert [(bool(path), step, ended) for path, step, ended, _ in seen] == [
        (True, 1, "ok"),
        (True, 2, "answered"),
        (False, 1, "ok"),
        (False, 2, "answered"),
    ]
    assert [calls for *_, calls in seen] == [2, 3, 3, 4]
    assert sorted((s.path, s.step) for s in found.steps) == sorted((path, step) for path, step, *_ in seen)


def test_the_library_prints_nothing(home: Home, coder: Talker):
    """Neither a plain call nor a run of the engine writes to the caller's output or error output."""
    coder.on("How", "print('loud')", "answer(1)")
    ran = python(home, "from rlmwatch import run\nrun('Hello')\nrun('How?', 'data')")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_no_process_and_no_thread_is_left_behind(coder: Talker):
    """When `run` has returned, the sandbox's processes and all threads of the run are gone."""
    coder.on("How", "answer(1)")
    before = threading.active_count(), children()
    run("How?", "data")
    assert (threading.active_count(), children()) == before


def children() -> set[str]:
    """Return the ids of the processes that this one has started: a server of other tests may be among them."""
    return {child for file in Path("/proc/self/task").glob("*/children") for child in file.read_text().split()}


def test_the_key_is_in_no_file(home: Home, coder: Talker):
    """The key stands in no file that a run leaves, wherever it came from."""
    coder.on("How", "answer(1)")
    run("How?", "data", api_key="given-key-51f0")
    files = [file for file in home.root.rglob("*") if file.is_file()]
    assert any(file.name == "ledger.sqlite3" for file in files)
    for file in files:
        assert not any(key in file.read_bytes() for key in (KEY.encode(), b"given-key-51f0")), file


# Where it is called from


def test_it_may_be_called_from_a_running_loop(coder: Talker):
    """In a notebook, where an event loop runs already, it works as anywhere."""
    coder.on("How", "answer(len(context))")

    async def cell() -> list[str]:
        return [run("Hello").answer, run("How long?", "four").answer]

    assert asyncio.run(cell()) == ["re", "4"]


def test_many_threads_may_run_at_once(coder: Talker):
    """Runs side by side in one process get each its own answer."""
    coder.on("How", "found = llm_batch([f'p{n}' for n in range(8)])\nprint(len(found))", "answer(len(context))")
    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(lambda n: run("How long?", "x" * n), range(1, THREADS + 1)))
    assert [one.answer for one in found] == [str(n) for n in range(1, THREADS + 1)]
    assert len({one.run_id for one in found}) == THREADS


def test_an_error_is_raised_in_the_callers_thread(home: Home):
    """From a running loop an error is raised by `run` itself, with its own class."""
    home.key = None

    async def cell() -> None:
        run("Hello", api_key="", base_url=None)

    os.environ.pop("OPENAI_API_KEY", None)
    with pytest.raises(NoProvider):
        asyncio.run(cell())


# Errors


@pytest.mark.parametrize(
    "options",
    [{"max_stpes": 3}, {"tokens": 0}, {"tokens": "many"}, {"mode": "fast"}, {"tools": ("telepathy",)}],
    ids=["unknown", "too small", "no number", "no such mode", "no such tool"],
)
def test_what_cannot_be_is_a_usage_error(options: dict[str, Any], provider: OpenAIServer):
    """An option that does not exist, or a value that it cannot have, is named, and nothing is sent."""
    with pytest.raises(UsageError, match=next(iter(options))):
        run("Hello", **options)
    assert provider.count == 0


def test_a_tool_without_its_key_says_which(provider: OpenAIServer):
    """`tools=("research",)` without a key for the search names the variable, and nothing is sent."""
    with pytest.raises(NoProvider, match="EXA_API_KEY"):
        run("Hello", tools=("research",))
    assert provider.count == 0


@pytest.mark.parametrize("data", [None, "some data"], ids=["plain", "engine"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.status(401), WrongKey),
        (Fault.status(404, {"error": {"message": "The model `gpt-0` does not exist"}}), UnknownModel),
        (Fault.status(400, {"error": {"message": "no such thing"}}), ProviderRefused),
    ],
    ids=["401", "404", "400"],
)
def test_a_providers_refusal_is_raised_and_never_an_answer(
    fault: Fault, error: type[Exception], data: str | None, coder: Talker, provider: OpenAIServer
):
    """What a provider refuses for good is raised as its class, after one request."""
    coder.on("Hello", fault)
    coder.plain = fault
    with pytest.raises(error):
        run("Hello", data)
    assert provider.count == 1


@pytest.mark.parametrize("data", [None, "some data"], ids=["plain", "engine"])
def test_a_provider_that_is_down_is_tried_until_the_time_is_up(data: str | None, coder: Talker):
    """What may work later is tried again within `max_seconds`, then raised in the provider's words."""
    coder.on("Hello", Fault.status(503))
    coder.plain = coder.synthesis = Fault.status(503)
    with pytest.raises((ProviderUnavailable, RunTimeout), match="scripted 503"):
        run("Hello", data, max_seconds=4)


def test_silence_does_not_pass_the_time_limit(coder: Talker, provider: OpenAIServer):
    """A provider that says nothing is given up at `max_seconds`, and the connection is closed."""
    coder.plain = Fault.stall()
    with pytest.raises(RunTimeout, match="max_seconds"):
        run("Hello", max_seconds=0.7)
    provider.wait_for_hang_ups()


def test_a_run_that_found_something_before_its_time_was_up_gives_that(coder: Talker):
    """A silent sub-call does not pass the limit: what the code printed before is the partial answer."""
    coder.on("slow", "print('the first half')", "llm_query('the rest')")
    coder.sub = lambda _body: Fault.stall()
    coder.synthesis = "the first half is known"
    found = run("slow", "data", max_seconds=6.0)
    assert (found.outcome, found.partial) == (Outcome.TIMEOUT, True)
    assert found.answer == "the first half is known"


# Importing


def test_importing_rlmwatch_loads_nothing_else(home: Home):
    """`import rlmwatch` loads its own first file alone; all else comes on first use."""
    program = """
import __future__, sys, typing, importlib
before = set(sys.modules)
import rlmwatch
print(*sorted(set(sys.modules) - before))
"""
    ran = python(home, program)
    assert (ran.stdout.split(), ran.stderr) == (["rlmwatch", "rlmwatch.version"], "")


HEAVY = ("openai", "httpx", "aiohttp", "exa_py", "genai_prices", "sqlite3", "watchdog", "xllamacpp")


def test_a_client_loads_no_provider_no_sandbox_and_no_database(home: Home):
    """A script that only submits jobs pays for nothing that answers them."""
    program = f"""
import sys
from rlmwatch import Client, JobStatus
print(*(name for name in {HEAVY!r} if name in sys.modules))
print(*(name for name in sys.modules if name.startswith(("rlmwatch.engine", "rlmwatch.sandbox", "rlmwatch.daemon"))))
"""
    ran = python(home, program)
    assert (ran.stdout.split(), ran.stderr) == ([], "")


def test_every_public_name_is_there():
    """Each name of `rlmwatch.__all__` can be had, and no other is promised."""
    assert {name for name in rlmwatch.__all__ if getattr(rlmwatch, name, None) is None} == set()
    with pytest.raises(AttributeError):
        rlmwatch.nothing  # noqa: B018 (that it raises is what is looked at)
    assert Path(rlmwatch.__file__).parent.parent == PROGRAM


def test_the_prompt_of_a_run_holds_the_question_once(coder: Talker, provider: OpenAIServer):
    """The request grows by the new step only: question and material are never sent again beside themselves."""
    coder.on("unusual", *(f"print({n})" for n in range(4)), "answer('done')")
    run("an unusual question", "material " * 200, max_steps=6)
    bodies = roots(provider)
    assert len(bodies) == 5
    for earlier, later in pairwise(bodies):
        assert later["messages"][: len(earlier["messages"])] == earlier["messages"]
        assert len(later["messages"]) == len(earlier["messages"]) + 2
    assert opening(bodies[-1]).count("an unusual question") == 1


def test_a_damaged_ledger_says_what_helps_and_that_helps(home: Home, provider: OpenAIServer):
    """No script may set aside what others use: the error names the three files to move, and then the next run works."""
    run("One")
    (ledger,) = home.states.glob("rlmwatch/python/ledger.sqlite3")
    ledger.write_bytes(b"not a ledger " * 1000)
    for _ in range(2):
        with pytest.raises(LedgerError) as caught:
            run("Two")
        assert "Start rlmwatch again" not in str(caught.value)
    elsewhere = home.root / "elsewhere"
    elsewhere.mkdir()
    for ending in ("", "-wal", "-shm"):
        file = ledger.with_name(ledger.name + ending)
        assert str(file) in str(caught.value)
        if file.exists():
            file.rename(elsewhere / file.name)
    assert run("Three").answer == "re"
    assert provider.count == 2
