"""daemon/journal.py: entries of systemd's journal, over a socket of the test's."""

import io
import json
import os
import socket
import struct

import pytest
import structlog

from rlmwatch.daemon.journal import SystemdJournal, entry, is_journal
from rlmwatch.daemon.logging import Redactor, configure

KEY = "sk-or-v1-0123456789abcdef"


@pytest.fixture
def journald(tmp_path):
    """A socket as the journal's, in its place."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "socket"))
        server.settimeout(10)
        yield server


@pytest.fixture
def journal(tmp_path):
    made = SystemdJournal("/home/me/notes", tmp_path / "socket")
    yield made
    made.close()


def fields(raw):
    """Read an entry as the journal does."""
    found = {}
    while raw:
        line, _, rest = raw.partition(b"\n")
        name, is_short, value = line.partition(b"=")
        if not is_short:
            (size,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + size], rest[8 + size + 1 :]
        found[name.decode()] = value.decode()
        raw = rest
    return found


def received(server):
    """Return the next entry, from the datagram or from the file that it brings."""
    raw, handed, _, _ = server.recvmsg(1_000_000, socket.CMSG_SPACE(4))
    for _level, _type, data in handed:
        fd = struct.unpack("i", data)[0]
        try:
            raw = os.pread(fd, os.fstat(fd).st_size, 0)
            with pytest.raises(PermissionError):  # sealed: the journal takes no other
                os.write(fd, b"more")
        finally:
            os.close(fd)
    return fields(raw)


def test_an_event_has_its_run_its_name_and_its_priority_as_fields(journald, journal):
    """`journalctl RLMWATCH_RUN=… -p err` finds it; the message is the JSON line, without secrets, and written once."""
    out = io.StringIO()
    configure("json", Redactor([KEY]), stream=out, journal=journal)
    structlog.get_logger().error("run.failed", run="r1", path="a_input.txt", why=f"refused {KEY}")
    found = received(journald)
    line = json.loads(found.pop("MESSAGE"))
    assert (line["event"], line["why"], line["level"]) == ("run.failed", "refused [secret]", "error")
    assert found == {
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "rlmwatch",
        "RLMWATCH_EVENT": "run.failed",
        "RLMWATCH_RUN": "r1",
        "RLMWATCH_PATH": "a_input.txt",
        "RLMWATCH_WORKSPACE": "/home/me/notes",
    }
    assert out.getvalue() == ""


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", "7"), ("info", "6"), ("warning", "4"), ("error", "3"), ("critical", "2")]
)
def test_each_level_has_the_priority_of_syslog(level, priority):
    """The levels of the log are those of `journalctl -p`."""
    assert fields(entry("x", {"event": "e", "level": level}))["PRIORITY"] == priority


def test_a_value_with_line_breaks_is_one_field():
    """A file's name with a line break brings no field of its own into the journal."""
    found = fields(entry("x", {"event": "e", "level": "info", "path": "a\nPRIORITY=0\n_input.txt"}))
    assert found["RLMWATCH_PATH"] == "a\nPRIORITY=0\n_input.txt"
    assert found["PRIORITY"] == "6"


def test_an_entry_that_is_too_long_for_a_datagram_goes_by_a_file(journald, journal):
    """A traceback of megabytes arrives whole, in a sealed memfd."""
    assert journal.takes("x" * 3_000_000, {"event": "e", "level": "info"})
    assert received(journald)["MESSAGE"] == "x" * 3_000_000


def test_what_the_journal_does_not_take_is_written_to_standard_error(tmp_path):
    """Without a journal, or with one that takes nothing, each line is where it was before, and nobody waits."""
    out = io.StringIO()
    configure("json", Redactor(), stream=out, journal=SystemdJournal(None, tmp_path / "missing"))
    structlog.get_logger().info("ready")
    assert json.loads(out.getvalue())["event"] == "ready"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "full"))
        journal = SystemdJournal(None, tmp_path / "full")
        sent = 0
        while journal.takes("x", {"event": "e", "level": "info"}):
            sent += 1
        journal.close()
    assert sent > 0


def test_standard_error_is_the_journal_where_its_device_and_inode_are_those_of_journal_stream(tmp_path):
    """A service whose standard error was sent to a file writes there, though `JOURNAL_STREAM` is set."""
    file = os.open(tmp_path / "log", os.O_CREAT | os.O_RDWR)
    try:
        found = os.fstat(file)
        assert is_journal({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}, file)
        assert not is_journal({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"}, file)
        assert not is_journal({}, file)
    finally:
        os.close(file)
    assert not is_journal({"JOURNAL_STREAM": "1:2"}, file)
