"""
The embedded model: a small one that answers when there is no key.

It runs in a child process: a crash in native code must not end the daemon, and its memory is taken only while it is
asked. The child is started by the first call and ends after idle minutes, with us, or when we close it.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import structlog
from pydantic import SecretStr

from rlmwatch.errors import ProviderCutOff, ProviderUnavailable, UnknownModel
from rlmwatch.models.base import Reply, Request
from rlmwatch.models.openai.dialect import Endpoint
from rlmwatch.models.openai.model import OpenAIModel, Timeouts
from rlmwatch.models.select import EMBEDDED_MODEL

log = structlog.get_logger()

IDLE_S = 600.0
"""Seconds without a call after which the child and its memory go; loading it again takes about a second."""

START_TIMEOUT_S = 120.0
"""For loading: about a second for the small model, up to a minute for a large file on a slow disk."""

PROMPT_TIMEOUT_S = 900.0
"""Silence within a call: reading 4,000 tokens takes 19 s on two cores, on a slow machine many times that."""

CONTEXT_TOKENS = 8192
"""Tokens of prompt and answer together: what SmolLM2 was trained on. llama.cpp lowers it for a model that has less."""

TEMPERATURE = 0.2
"""Where the request names none: what the makers of SmolLM2 use; at llama.cpp's own 0.8 a small model raves."""

END_GRACE_S = 1.0
"""A child that has not ended by itself after this is killed."""

_STDERR_BYTES = 600  # of the child's last words, in an error
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME")


class EmbeddedModel:
    """
    A GGUF file, answered by llama.cpp in a child process (port `Model`). It costs nothing.

    One request at a time; others wait in the order they came. A crash of the child fails the call that was
    running; the next call starts a new child. Belongs to the event loop of its first call.

    Attributes:
        provider: `embedded`.
        model: The one name that it answers to.
    """

    provider = "embedded"

    def __init__(self, path: Path, *, model: str = EMBEDDED_MODEL, idle_s: float = IDLE_S) -> None:
        self.model = model
        self._path = path.absolute()
        self._idle_s = idle_s
        self._turn = asyncio.Lock()
        self._child: _Child | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def pid(self) -> int | None:
        """The child's process id; None while there is none."""
        return self._child.process.pid if self._child is not None and self._child.alive else None

    def price(self, model: str) -> tuple[float, float] | None:  # noqa: ARG002 (the port's)
        """Return (0, 0): it runs on this machine."""
        return 0.0, 0.0

    def turn(self, request: Request) -> AbstractAsyncContextManager[None]:  # noqa: ARG002 (the port's)
        """Return at once: nothing limits how fast it is asked."""
        return nullcontext()

    async def complete(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Reply:
        """
        Make one call.

        Raises:
            UnknownModel: The request names another model (answering in its place would deceive), or the weights
                are gone.
            ProviderRefused: The prompt is longer than the model can take.
            ProviderUnavailable: The child did not start, or crashed; the text has its last words.
            ProviderCutOff: It crashed in the middle of the answer.
        """
        if request.model != self.model:
            raise UnknownModel(
                f"embedded: model {request.model!r} is not here, only {self.model!r}. Set a key for a provider that "
                "has it, or take the model's name out of the settings."
            )
        async with self._turn:
            self._keep_awake()
            try:
                child = await self._running()
                return await self._ask(child, request, on_text)
            finally:
                self._idle = asyncio.get_running_loop().call_later(self._idle_s, self._fall_asleep)

    def sees(self, model: str) -> bool | None:  # noqa: ARG002 (the port's)
        """Return False: it is given text alone."""
        return False

    async def aclose(self) -> None:
        """End the child. Idempotent."""
        self._keep_awake()
        child, self._child = self._child, None
        if child is not None:
            await child.end()
        await asyncio.gather(*self._ending)

    async def _running(self) -> _Child:
        """Return the child, started if there is none that lives."""
        if self._child is not None and not self._child.alive:
            gone, self._child = self._child, None
            await gone.end()
        if self._child is None:
            if not await asyncio.to_thread(self._path.is_file):
                raise UnknownModel(f"embedded: the weights are not at {self._path}. Run `rlmwatch model fetch`.")
            self._child = await _Child.start(self._path, self.model)
            log.info("embedded.started", path=str(self._path), pid=self._child.process.pid)
        return self._child

    async def _ask(self, child: _Child, request: Request, on_text: Callable[[str], None] | None) -> Reply:
        try:
            cool = TEMPERATURE if request.temperature is None else request.temperature
            return await child.client.complete(replace(request, model=self.model, temperature=cool), on_text=on_text)
        except ProviderUnavailable as error:
            if not await child.died_within(END_GRACE_S):
                raise
            words = f"embedded: the model's process ended ({child.how_it_ended()}). {child.last_words()}"
            log.warning("embedded.crashed", pid=child.process.pid, status=child.process.returncode)
            if isinstance(error, ProviderCutOff):
                raise ProviderCutOff(words, text_so_far=error.text_so_far) from None
            raise ProviderUnavailable(words) from None

    def _keep_awake(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _fall_asleep(self) -> None:
        """End the child after idle time, unless a call has begun meanwhile."""
        child = self._child
        if child is None or self._turn.locked():
            return
        self._child = None
        log.info("embedded.idle", pid=child.process.pid, idle_s=self._idle_s)
        ending = asyncio.get_running_loop().create_task(child.end())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


class _Child:
    """The child process, and the client that talks to it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._stderr_tail = bytearray()
        self._listening = asyncio.get_running_loop().create_task(self._listen())
        self._client: OpenAIModel | None = None

    @classmethod
    async def start(cls, path: Path, name: str) -> _Child:
        """
        Start a child and wait until it serves *path*.

        Raises:
            ProviderUnavailable: It did not; the text has the reason.
        """
        # The folder we run in may be a workspace, whose files strangers write: Python must not import from there.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "rlmwatch.models.llamacpp.child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd="/",
            start_new_session=True,  # Ctrl+C is for the daemon, which may still want the answer
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        )
        child = cls(process)
        try:
            await child.serve(path, name)
        except BaseException:
            await child.end()
            raise
        return child

    async def serve(self, path: Path, name: str) -> None:
        """Tell the child what to serve, and make the client for the address that it reports."""
        key = secrets.token_urlsafe(32)
        settings = {
            "path": str(path),
            "name": name,
            "key": key,
            "threads": len(os.sched_getaffinity(0)),
            "context": CONTEXT_TOKENS,
            "parent": os.getpid(),
        }
        answer: dict[str, str] = {}
        words = "it ended before it was ready"
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                self._stdin.write(json.dumps(settings).encode() + b"\n")
                await self._stdin.drain()
                line = await self._stdout.readline()
            answer = json.loads(line) if line.strip() else {}
        except TimeoutError:
            words = f"it was not ready after {START_TIMEOUT_S:g} s"
        except (OSError, ValueError):
            pass
        if "address" not in answer:
            await self.died_within(END_GRACE_S)
            reason = answer.get("error", words)
            raise ProviderUnavailable(f"embedded: {path} could not be loaded: {reason}. {self.last_words()}")
        endpoint = Endpoint("embedded", answer["address"] + "/v1", SecretStr(key))
        self._client = OpenAIModel(endpoint, timeouts=Timeouts(idle_s=PROMPT_TIMEOUT_S))

    @property
    def client(self) -> OpenAIModel:
        """The client; there once it serves."""
        if self._client is None:
            raise RuntimeError("the child does not serve yet")
        return self._client

    @property
    def alive(self) -> bool:
        """Whether the process runs: the kernel is asked, since asyncio hears of its end a little later."""
        if self.process.returncode is not None:
            return False
        try:
            return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    async def died_within(self, seconds: float) -> bool:
        """Wait until the process has ended and all that it said is read; return whether it has."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.process.wait()
                await asyncio.shield(self._listening)
        return not self.alive

    def how_it_ended(self) -> str:
        """Return the exit status in words."""
        status = self.process.returncode
        if status is not None and status < 0:
            return f"signal {signal.Signals(-status).name}"
        return f"status {status}"

    def last_words(self) -> str:
        """Return the last lines that it wrote, for a person."""
        said = self._stderr_tail.decode("utf-8", "replace").split("\n")
        words = " | ".join(line.strip() for line in said if line.strip())
        return f"Its last words: {words}" if words else "It said nothing."

    async def end(self) -> None:
        """End the process: first by the end of its input, then by force. Idempotent."""
        if self._client is not None:
            await self._client.aclose()
        self._stdin.close()
        if not await self.died_within(END_GRACE_S):
            with suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        await self._listening

    async def _listen(self) -> None:
        """Keep the end of its standard error, off our terminal."""
        stderr = self.process.stderr
        while stderr is not None and (piece := await stderr.read(_STDERR_BYTES)):
            self._stderr_tail += piece
            del self._stderr_tail[:-_STDERR_BYTES]

    @property
    def _stdin(self) -> asyncio.StreamWriter:
        if self.process.stdin is None:
            raise RuntimeError("the child was started with a pipe for its input")
        return self.process.stdin

    @property
    def _stdout(self) -> asyncio.StreamReader:
        if self.process.stdout is None:
            raise RuntimeError("the child was started with a pipe for its output")
        return self.process.stdout
