"""Wait for a job at the terminal: how far it is, and then its answer."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape

from rlmwatch.cli.output import print_json, put_answer, say
from rlmwatch.client import Client, Job
from rlmwatch.contract.documents import JobStatus
from rlmwatch.contract.state_words import state_word, with_reason
from rlmwatch.printable import printable

POLL_S = 0.25
"""Between two looks at a status file: a person does not notice; the file itself moves once a second."""


async def until_ended(client: Client, job_id: str) -> Job:
    """Return the job once it has ended; on a terminal, say meanwhile how far it is."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return await _ended(client, job_id)
    with console.status("handed in") as line:
        return await _ended(client, job_id, lambda job: line.update(escape(printable(_how_far(job)))))


async def _ended(client: Client, job_id: str, tell: Callable[[Job], None] | None = None) -> Job:
    held_for: str | None = None
    while True:
        job = await asyncio.to_thread(client.status, job_id)
        if job.ended:
            return job
        if job.status is JobStatus.HELD and job.error != held_for:
            held_for = job.error
            say(f"rlmwatch: {job_id} is held, and goes on by itself when this is fixed: {held_for}")
        if tell is not None:
            tell(job)
        await asyncio.sleep(POLL_S)


def _how_far(job: Job) -> str:
    parts = [state_word(job.status.value)]
    if job.progress is not None and job.progress.step:
        of = f" of {job.progress.max_steps}" if job.progress.max_steps else ""
        parts.append(f"step {job.progress.step}{of}")
    if job.progress is not None and job.progress.note:
        parts.append(job.progress.note)
    if job.usage.llm_calls:
        parts.append(f"{job.usage.input_tokens} tokens in, {job.usage.output_tokens} out")
    return job.error or ", ".join(parts)


@contextmanager
def interruptible() -> Iterator[asyncio.Event]:
    """
    Yield an event that Ctrl+C sets, and SIGTERM and a closed window: what goes on is to end in order.

    Within a running loop. However often it is pressed, nothing is broken off in the middle.
    """
    loop = asyncio.get_running_loop()
    leave = asyncio.Event()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, leave.set)
    try:
        yield leave
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def print_ended(job: Job, *, as_json: bool) -> int:
    """Print how the job ended: the answer to standard output, the rest beside it; return the exit status."""
    if as_json:
        print_json(job_values(job))
    else:
        if job.answer is not None:
            put_answer(job.answer)
        for line in (*job.notes, *([job.error] if job.error else [])):
            say(f"rlmwatch: {line}")
        if job.partial or job.answer is None:
            how = with_reason(job.status.value, outcome=job.outcome, partial=job.partial, notes=job.notes)
            say(f"rlmwatch: {job.job_id}: {how}")
    sys.stdout.flush()
    return 0 if job.status is JobStatus.COMPLETE else 1


def job_values(job: Job) -> dict[str, object]:
    """Return *job* as JSON values."""
    return {
        **asdict(job),
        "usage": job.usage.model_dump(mode="json"),
        "progress": None if job.progress is None else job.progress.model_dump(mode="json"),
    }
