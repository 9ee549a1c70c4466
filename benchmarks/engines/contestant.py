"""
One engine, one scenario, many runs: started by `benchmarks/engine.py` with the engine's own Python.

    python contestant.py ENGINE SCENARIO URL FOLDER

Prints one line of JSON when it is ready. Then, for each line on standard input, it does one run, and prints another.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path
from urllib.parse import urlsplit

AT_ONCE = 16
CALLS = 100
SUB_S = 0.05
MODEL = "gpt-4o-mini"
NEEDLE = "needle-4711"
FILLER = "The quick brown fox jumps over the lazy dog, and the dog sleeps on. "
LONG_CHARS = 100_000
LARGE_CHARS = 100_000_000
READY = 40
"""Runs that an engine can do which has to be constructed for each."""
QUESTION = "What is the code word?"

READY_ANSWER = 'answer["content"] = {}\nanswer["ready"] = True'
# How each writes the same cell: the text's name, a sub-call, many of them, the end, the fence.
WORDS = {
    "ours": ("context", "llm_query(p)", "llm_batch(ps)", "answer({})", "python"),
    "floor": ("context", "llm_query(p)", "llm_batch(ps)", "answer({})", "python"),
    "rlms": ("context", "llm_query(p)", "llm_query_batched(ps)", READY_ANSWER, "repl"),
    "recursive-llm": ("context", "llm_query(p)", "llm_query_batched(ps)", READY_ANSWER, "python"),
    "minrlm": (
        "input_0",
        "sub_llm(p)",
        "sub_llm_batch([(p, '') for p in ps])",
        "seen = input_0[:1]\nFINAL({})",
        "python",
    ),
    "enzu": ("context[1]", "llm_query(p)", "llm_batch(ps)", "FINAL({})", "python"),
}


def cells(engine: str, scenario: str) -> list[str]:
    """Return what the root model replies, cell by cell, in the engine's own words."""
    text, ask, batch, end, fence = WORDS[engine]
    prompts = f"ps = ['q' + '7f3a ' + str(n) for n in range({CALLS})]"
    done = end.format("str(len(got))")
    steps = [f"x = len({text}) + {n}\nprint(x)" for n in range(9)] + [end.format("str(x)")]
    codes = {
        "steps": steps,
        "long": steps,
        "sequential": [f"{prompts}\ngot = []\nfor p in ps:\n    got.append({ask})\n{done}"],
        "batch": [f"{prompts}\ngot = {batch}\n{done}"],
        "large": [
            f"print(len({text}))",
            f"at = {text}.find('{NEEDLE}')\n" + end.format(f"{text}[at:at + {len(NEEDLE)}]"),
        ],
    }[scenario]
    return [f"```{fence}\n{code}\n```" for code in codes]


def wanted(scenario: str) -> str:
    """Return the right answer."""
    last_step = str(len(material(scenario)) + 8)
    return {"steps": last_step, "long": last_step, "large": NEEDLE}.get(scenario, str(CALLS))


def material(scenario: str) -> str:
    """Return the text that is asked about."""
    if scenario == "long":
        return (FILLER * LONG_CHARS)[:LONG_CHARS]
    if scenario != "large":
        return FILLER
    return (FILLER * (LARGE_CHARS // len(FILLER) + 1))[: LARGE_CHARS - len(NEEDLE)] + NEEDLE


class Control:
    """The provider's own side: what it is to answer, and what it was asked."""

    def __init__(self, url: str) -> None:
        self._wire = http.client.HTTPConnection(urlsplit(url).netloc)

    def begin(self, roots: list[str], sub_s: float) -> None:
        self._do("PUT", {"roots": roots, "sub_s": sub_s})

    def told(self) -> dict[str, int]:
        return self._do("GET", None)

    def _do(self, method: str, body: object) -> dict[str, int]:
        self._wire.request(method, "/script", json.dumps(body))
        return json.loads(self._wire.getresponse().read())


Once = Callable[[str], str]


def floor(url: str, _folder: Path) -> Once:
    """Plain HTTP and `exec` in this process: no sandbox, no journal, no budget."""

    def ask(wire: http.client.HTTPConnection, messages: list[dict[str, str]]) -> str:
        body = json.dumps({"model": MODEL, "messages": messages})
        wire.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        return json.loads(wire.getresponse().read())["choices"][0]["message"]["content"]

    def once(context: str) -> str:
        netloc = urlsplit(url).netloc
        wire = http.client.HTTPConnection(netloc)
        ended: list[str] = []

        def llm_query(prompt: str) -> str:
            return ask(wire, [{"role": "user", "content": prompt}])

        def one_thread(prompts: list[str]) -> list[str]:
            own = http.client.HTTPConnection(netloc)
            return [ask(own, [{"role": "user", "content": prompt}]) for prompt in prompts]

        def llm_batch(prompts: list[str]) -> list[str]:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                lots = pool.map(one_thread, [prompts[n::AT_ONCE] for n in range(AT_ONCE)])
                return [reply for lot in lots for reply in lot]

        names = {"context": context, "llm_query": llm_query, "llm_batch": llm_batch, "answer": ended.append}
        messages = [{"role": "user", "content": QUESTION}]
        while not ended:
            reply = ask(wire, messages)
            printed = io.StringIO()
            with redirect_stdout(printed):
                exec(re.search(r"```\w*\n(.*?)\n```", reply, re.DOTALL)[1], names)  # noqa: S102 (it is the floor)
            messages += [{"role": "assistant", "content": reply}, {"role": "user", "content": printed.getvalue()}]
        wire.close()
        return ended[0]

    return once


def ours(url: str, folder: Path) -> Once:
    """Ours as it is delivered: locked-down sandbox, SQLite journal, budgets, trajectory."""
    import asyncio
    import logging

    import structlog

    from rlmwatch import clock
    from rlmwatch.contract.kinds import Kind
    from rlmwatch.contract.options import RunOptions
    from rlmwatch.daemon.composition import DirectRunner
    from rlmwatch.execution.caller_storage import CallerStorage, save_of
    from rlmwatch.workspace.context import Context

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))  # as `run` does
    environ = {
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "OPENAI_API_KEY": "made-up",
        "OPENAI_BASE_URL": url,
        "RLMWATCH_MODELS__DETECT_LOCAL": "false",
    }
    loop = asyncio.new_event_loop()
    runner = DirectRunner(environ)

    async def begin() -> None:
        await runner.__aenter__()
        await runner.sandbox.start()

    loop.run_until_complete(begin())
    options = RunOptions(model=MODEL, mode="rlm", max_steps=12, tokens=1000)

    def once(context: str) -> str:
        storage = CallerStorage(runner.state, clock.utc, Context(context))
        _, result = loop.run_until_complete(runner.answer(save_of(Kind.JOB, QUESTION, options), storage))
        return result.answer

    return once


def rlms(url: str, _folder: Path) -> Once:
    from rlm import RLM

    kwargs = {"api_key": "made-up", "model_name": MODEL, "base_url": url}
    engine = RLM(backend="openai", backend_kwargs=kwargs, max_iterations=12, max_concurrent_subcalls=AT_ONCE)
    return lambda context: engine.completion(context, root_prompt=QUESTION).response


def recursive_llm(url: str, _folder: Path) -> Once:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the network for one, and waits
    from rlm import RLM

    engine = RLM(
        f"openai/{MODEL}",
        api_base=url,
        api_key="made-up",
        max_iterations=12,
        repl_timeout=60,  # four sub-calls at once, its default: with sixteen it stands still on two cores
    )
    return lambda context: engine.complete(QUESTION, context)


def minrlm(url: str, _folder: Path) -> Once:
    from minrlm import RLM

    def new() -> RLM:
        return RLM(MODEL, api_key="made-up", base_url=url, max_iterations=12, max_sub_llm_calls=CALLS + 1)

    # Its batches fail from the second one on: each has an event loop of its own, their connections are kept.
    ready = [new() for _ in range(READY)]
    return lambda context: ready.pop().completion(QUESTION, context).response


def enzu(url: str, _folder: Path) -> Once:
    os.environ["ENZU_TELEMETRY_STDERR"] = "0"
    sys.modules["tiktoken"] = None  # it would ask the network for its tables at each call; enzu does without it
    from enzu import RLMEngine
    from enzu.models import Budget, SuccessCriteria, TaskSpec
    from enzu.providers.openai_compat import OpenAICompatProvider

    # A sub-call is one plain call, as in the others; by default it would be three.
    engine = RLMEngine(max_steps=12, recursive_subcalls=False)
    provider = OpenAICompatProvider(name="openai", api_key="made-up", base_url=url)
    task = TaskSpec(
        task_id="one",
        input_text=QUESTION,
        model=MODEL,
        budget=Budget(max_tokens=100_000),
        success_criteria=SuccessCriteria(goal=QUESTION),
    )
    return lambda context: engine.run(task, provider, data=context).answer


ENGINES = {
    "floor": floor,
    "ours": ours,
    "rlms": rlms,
    "recursive-llm": recursive_llm,
    "minrlm": minrlm,
    "enzu": enzu,
}


def main() -> None:
    engine, scenario, url, folder = sys.argv[1:]
    told = sys.stdout
    sys.stdout = sys.stderr  # some print as they go
    once = ENGINES[engine](url, Path(folder))
    control, context, right_answer = Control(url), material(scenario), wanted(scenario)
    print("{}", file=told, flush=True)
    for _ in sys.stdin:
        control.begin(cells(engine, scenario), SUB_S if scenario == "batch" else 0.0)
        began, worked = time.perf_counter(), time.process_time()
        found = once(context)
        wall, cpu = time.perf_counter() - began, time.process_time() - worked
        right = str(found) == right_answer
        line = {"wall_s": wall, "cpu_s": cpu, "right": right, "found": str(found)[:200], **control.told()}
        print(json.dumps(line), file=told, flush=True)


if __name__ == "__main__":
    main()
