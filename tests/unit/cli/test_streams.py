"""cli/streams.py: writing never waits, and loses nothing that is read."""

from __future__ import annotations

import os
import threading

import pytest
import structlog

from rlmwatch.cli.streams import BackgroundStream

PIPE_BYTES = 65_536


def read_all(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as reader:
        return reader.read()


def test_what_a_slow_reader_takes_later_arrives_whole_and_in_order():
    """More than the pipe holds is written at once without a wait; the reader then gets every line."""
    reader, writer = os.pipe()
    stream = BackgroundStream(writer, "utf-8", limit=None)
    lines = [f"line {n} é\n" for n in range(20_000)]
    for line in lines:
        stream.write(line)
    assert not stream.drain(0), "the pipe cannot hold this: a wait would have been needed"
    got: list[bytes] = []
    taking = threading.Thread(target=lambda: got.append(read_all(reader)))
    taking.start()
    assert stream.drain(30)
    os.close(writer)
    taking.join()
    assert got[0].decode() == "".join(lines)


def test_lines_over_the_limit_are_dropped_and_counted():
    """Where nobody reads, what is over the limit is dropped; once it is read, the log says how many lines."""
    reader, writer = os.pipe()
    stream = BackgroundStream(writer, "utf-8", limit=PIPE_BYTES)
    said = threading.Event()
    events: list[dict[str, object]] = []

    def hear(_logger: object, _method: str, event: dict[str, object]) -> dict[str, object]:
        events.append(dict(event))
        said.set()
        raise structlog.DropEvent

    structlog.configure(processors=[hear])
    for _ in range(PIPE_BYTES * 3 // 100):
        stream.write("x" * 99 + "\n")
    taking = threading.Thread(target=read_all, args=(reader,))
    taking.start()
    assert said.wait(30)
    os.close(writer)
    taking.join()
    assert events[0]["event"] == "log.lines_dropped"
    assert 0 < int(str(events[0]["lines"])) < PIPE_BYTES * 3 // 100


def test_a_reader_that_went_away_is_an_error_to_ask_for_and_none_that_is_raised():
    """`| head` ends the reader: writing goes on without an exception, and `error` says it."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = BackgroundStream(writer, "utf-8", limit=None)
    stream.write("a\n")
    stream.write("b\n")
    assert stream.drain(30)
    assert isinstance(stream.error, BrokenPipeError)
    os.close(writer)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_the_encoding_lacks_is_escaped(encoding: str):
    """A terminal or pipe that is not UTF-8 gets escapes instead of an error."""
    reader, writer = os.pipe()
    BackgroundStream(writer, encoding, limit=None).write("→ 日\n")
    os.close(writer)
    assert read_all(reader) == b"\\u2192 \\u65e5\n"


def test_a_file_is_written_at_once(tmp_path):
    """A regular file takes every line when it is written: a kill loses none of them."""
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    BackgroundStream(fd, "utf-8", limit=None).write("a line\n")
    assert (tmp_path / "log").read_text() == "a line\n"
    os.close(fd)
