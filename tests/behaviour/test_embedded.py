"""The embedded model's process: it comes when it is asked, goes when it is not, and takes nobody with it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from behaviour.embedded_weights import on_one_core, path_or_skip

from rlmwatch.errors import ProviderCutOff, ProviderUnavailable, UnknownModel
from rlmwatch.models.base import Message, Request
from rlmwatch.models.llamacpp.model import EmbeddedModel

SHORT = Request("smollm2-135m-instruct", (Message("user", "Say hello."),), 4, temperature=0.0, seed=1)
LONG = Request("smollm2-135m-instruct", (Message("user", "Tell me a long story."),), 3000, temperature=0.0, seed=1)


@pytest.fixture
def path() -> Iterator[Path]:
    with on_one_core():
        yield path_or_skip()


async def until_gone(pid: int) -> None:
    """Wait until the process *pid* has ended."""
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(watch, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), 20)
    finally:
        loop.remove_reader(watch)
        os.close(watch)


def test_no_process_runs_before_the_first_call(path):
    """A model that nobody asks costs no memory."""
    assert EmbeddedModel(path).pid is None


def test_one_process_serves_all_calls_and_ends_with_the_model(path):
    """The model is loaded once, and its process is gone when the model is closed."""

    async def test() -> None:
        model = EmbeddedModel(path)
        await model.complete(SHORT)
        pid = model.pid
        await model.complete(SHORT)
        assert model.pid == pid is not None
        await model.aclose()
        assert model.pid is None
        await until_gone(pid)

    asyncio.run(test())


def test_an_idle_model_gives_its_memory_back_and_comes_again(path):
    """After its idle time the process ends; the next call starts another."""

    async def test() -> None:
        model = EmbeddedModel(path, idle_s=0.05)
        await model.complete(SHORT)
        first = model.pid
        assert first is not None
        await until_gone(first)
        assert model.pid is None
        assert (await model.complete(SHORT)).text
        await model.aclose()

    asyncio.run(test())


def test_a_crash_fails_its_call_with_words_and_the_next_is_answered(path):
    """Native code that crashes fails the one call that it was in; what it had said is kept."""

    async def test() -> None:
        model = EmbeddedModel(path)

        def crash(_piece: str) -> None:
            if model.pid is not None:
                os.kill(model.pid, signal.SIGSEGV)

        with pytest.raises(ProviderCutOff, match="SIGSEGV") as caught:
            await model.complete(LONG, on_text=crash)
        assert caught.value.text_so_far
        assert (await model.complete(SHORT)).text
        await model.aclose()

    asyncio.run(test())


def test_a_process_that_was_killed_while_idle_is_replaced_unnoticed(path):
    """A process that the system ended between two calls costs no call."""

    async def test() -> None:
        model = EmbeddedModel(path)
        await model.complete(SHORT)
        first = model.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until_gone(first)
        assert (await model.complete(SHORT)).text
        assert model.pid != first
        await model.aclose()

    asyncio.run(test())


def test_the_process_dies_with_a_daemon_that_is_killed(path):
    """A daemon that is killed leaves no process behind."""
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from rlmwatch.models.base import Message, Request\n"
        "from rlmwatch.models.llamacpp.model import EmbeddedModel\n"
        "async def main():\n"
        "    model = EmbeddedModel(Path(sys.argv[1]))\n"
        "    await model.complete(Request(model.model, (Message('user', 'hi'),), 1))\n"
        "    print('PID', model.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    daemon = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert daemon.stdout is not None
    with daemon.stdout as said:
        line = next(line for line in said if line.startswith("PID"))
        daemon.kill()
        daemon.wait()
    asyncio.run(until_gone(int(line.split()[1])))


def test_a_file_that_is_no_model_says_so(tmp_path, path):
    """A damaged file is an error with llama.cpp's own words."""
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"no model" * 100)

    async def test() -> None:
        model = EmbeddedModel(damaged)
        with pytest.raises(ProviderUnavailable, match=r"damaged\.gguf could not be loaded") as caught:
            await model.complete(SHORT)
        assert "magic" in str(caught.value) or "failed to load" in str(caught.value)
        assert model.pid is None
        await model.aclose()

    asyncio.run(test())


def test_weights_that_are_gone_say_how_to_get_them(tmp_path):
    """Who removed the weights is told how to fetch them again."""

    async def test() -> None:
        with pytest.raises(UnknownModel, match="rlmwatch model fetch"):
            await EmbeddedModel(tmp_path / "none.gguf").complete(SHORT)

    asyncio.run(test())


def test_the_process_gets_no_secrets_and_serves_strangers_nothing(path, monkeypatch):
    """Keys in the environment do not reach native code, and the port answers only who knows the random key."""
    monkeypatch.setenv("OPENROUTER_API_KEY", "leak-me")

    async def test() -> None:
        model = EmbeddedModel(path)
        await model.complete(SHORT)
        environ = await asyncio.to_thread(Path(f"/proc/{model.pid}/environ").read_bytes)
        assert b"leak-me" not in environ
        command = await asyncio.to_thread(Path(f"/proc/{model.pid}/cmdline").read_bytes)
        assert b"key" not in command
        assert model._child is not None
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(model._child.client._endpoint.base_url[:-3].rpartition(":")[2])
        )
        writer.write(b"GET /v1/models HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"401" in await reader.readline()
        writer.close()
        await model.aclose()

    asyncio.run(test())


def test_the_folder_we_run_in_is_not_imported_from(path, tmp_path, monkeypatch):
    """A file called `json.py` in a workspace is a stranger's: the model's process does not run it."""
    (tmp_path / "json.py").write_text("open('was-run', 'w')")
    monkeypatch.chdir(tmp_path)

    async def test() -> None:
        model = EmbeddedModel(path)
        await model.complete(SHORT)
        await model.aclose()

    asyncio.run(test())
    assert not (tmp_path / "was-run").exists()


def test_cancelling_while_it_starts_leaves_no_process(path):
    """A run that is cancelled before the model is loaded leaves nothing behind."""

    async def test() -> None:
        model = EmbeddedModel(path)
        before = _children()
        call = asyncio.create_task(model.complete(SHORT))
        async with asyncio.timeout(20):
            while not (started := _children() - before):  # noqa: ASYNC110 (nobody tells when a child begins)
                await asyncio.sleep(0.005)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        for pid in started:
            await until_gone(pid)
        await model.aclose()

    asyncio.run(test())


def _children() -> set[int]:
    pids: set[int] = set()
    for children in Path("/proc/self/task").glob("*/children"):
        pids |= {int(pid) for pid in children.read_text().split()}
    return pids
