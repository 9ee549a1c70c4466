"""
What material costs before the model is asked: time, and memory of the daemon and of the process that reads documents.

    python benchmarks/material.py [--pages 300] [--notes 2000]

A PDF of full pages, the same text as a Word document and as a web page; then a folder of notes as Markdown, and as web
pages. Each is the material of one job, answered by a real daemon and a model that answers at once. The time is that
from the start of the run until its material is read; memory is the highest (VmHWM) of each process.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from fakes.made_documents import docx, paragraph, text_pdf
from servers.openai_server import OpenAIServer
from system.daemon import Daemon
from system.harness import Home
from system.researching import Coder

MB = 1024
LINES, WORDS_A_LINE, LINES_OF_A_NOTE = 60, 12, 30
WORDS = ("bees", "meadow", "honey", "garden", "letter", "summer", "Thursday", "eleven", "jars", "of", "the", "moved")
PATIENCE_S = 600.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--pages", type=int, default=300)
    parser.add_argument("--notes", type=int, default=2000)
    given = parser.parse_args()
    pages = [lines(LINES, seed) for seed in range(given.pages)]
    notes = [lines(LINES_OF_A_NOTE, seed) for seed in range(given.notes)]
    words = [line for page in pages for line in page]
    print("| material | size MB | text MB | read s | daemon before MB | daemon MB | reading process MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    measure(f"PDF of {given.pages} pages", {"a.pdf": text_pdf(pages)})
    measure("the same as .docx", {"a.docx": docx("".join(map(paragraph, words)))})
    measure("the same as .html", {"a.html": "".join(f"<p>{line}</p>\n" for line in words).encode()})
    measure(f"{given.notes:,} notes, .md", {f"{n}.md": "\n".join(note).encode() for n, note in enumerate(notes)})
    pages_of_notes = {f"{n}.html": f"<h1>{n}</h1><p>{'<br>'.join(note)}</p>".encode() for n, note in enumerate(notes)}
    measure(f"{given.notes:,} notes, .html", pages_of_notes)


def lines(count: int, seed: int) -> list[str]:
    """Return *count* lines of made-up words."""
    rng = random.Random(seed)  # noqa: S311 (no secret)
    return [" ".join(rng.choice(WORDS) for _ in range(WORDS_A_LINE)) for _ in range(count)]


def measure(what: str, files: dict[str, bytes]) -> None:
    """Print one row."""
    coder = Coder()
    with tempfile.TemporaryDirectory() as folder, OpenAIServer(coder) as server:
        home = Home(Path(folder) / "home", server, fresh=True)
        for name, raw in files.items():
            home.save(f"x_job_data/{name}", raw)
        with home.daemon() as daemon:
            before = highest_mb(daemon.pid)
            peak = Peak(daemon.pid)
            home.save("x_job_input.txt", "---\nmax_seconds: 600\n---\nread it\n")
            ended = read_at(daemon)
            took = ended - datetime.fromisoformat(daemon.wait("run.started")["timestamp"])
            daemon.wait("answer.written", timeout=PATIENCE_S)
            chars = home.status_of("x_job_input.txt")["progress"]["context_chars"]
            size = sum(map(len, files.values())) / 1e6
            print(
                f"| {what} | {size:.1f} | {chars / 1e6:.1f} | {took.total_seconds():.1f} | {before:.0f} "
                f"| {highest_mb(daemon.pid):.0f} | {peak.close() or '-'} |",
                flush=True,
            )


def read_at(daemon: Daemon) -> datetime:
    """Return when the material was read."""
    return datetime.fromisoformat(daemon.wait("run.context", timeout=PATIENCE_S)["timestamp"])


class Peak:
    """Looks for the process that reads documents for the process *parent*, and keeps its highest memory."""

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._highest = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._ended.wait(0.05):
            try:
                children = Path(f"/proc/{self._parent}/task/{self._parent}/children").read_text().split()
                reads = (each for each in children if b"documents.child" in Path(f"/proc/{each}/cmdline").read_bytes())
                self._highest = max([self._highest, *(highest_mb(int(each)) for each in reads)])
            except (OSError, StopIteration):
                continue

    def close(self) -> int:
        """End looking, and return the highest memory in MB; 0 where there was no such process."""
        self._ended.set()
        self._thread.join()
        return round(self._highest)


def highest_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / MB


if __name__ == "__main__":
    main()
