"""Whatever lies in the place of `rlmwatch.toml`, no daemon ends, hangs or grows; it says why, and goes on by itself."""

from __future__ import annotations

import errno
import os
import resource
import socket
import tomllib
from pathlib import Path

import pytest
from system.harness import Home

from rlmwatch.errors import ConfigError
from rlmwatch.settings.sources import load

GOOD = b'host = "here"\n[chat]\ntokens = 77\n'
DEEP = b"chat." + b"a." * 30_000 + b"b = 1\n"


def fifo(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 << 30)


def folder(path: Path) -> None:
    path.mkdir()


def socket_file(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def link_to_good(path: Path) -> None:
    (path.parent / "elsewhere.toml").write_bytes(GOOD)
    path.symlink_to("elsewhere.toml")


def holding(content: bytes):
    return lambda path: path.write_bytes(content)


HOSTILE = {
    "fifo": (fifo, "pipe"),
    "link": (endless, "is a link"),
    "sparse": (sparse, "larger than 64 KB"),
    "folder": (folder, "folder"),
    "number": (holding(b"keep_jobs_days = " + b"9" * 5_000), "no valid TOML"),
    "brackets": (holding(b"chat = " + b"[" * 20_000), "nested too deep"),
    "deep": (holding(DEEP), "more than 50 parts"),
    "forbidden": (holding(b'base_url = "http://evil.example/v1"\n'), "base_url: a workspace may not set this"),
    "latin": (holding(b'host = "\xe9"\n'), "not UTF-8"),
    "half": (holding(b'host = "he'), "no valid TOML"),
    "socket": (socket_file, "socket"),
    "link to a good one": (link_to_good, "is a link"),
    "too long by one": (holding(GOOD + b"#" * (65_537 - len(GOOD))), "larger than 64 KB"),
    "inline tables": (holding(b"chat = " + b"{a = " * 5_000), "nested too deep"),
    "arrays of tables": (holding(b"[[chat]]\n" * 5_000), "chat"),
    "date": (holding(b"keep_jobs_days = 9999-99-99\n"), "no valid TOML"),
    "infinite": (holding(b"[chat]\nmax_cost_usd = inf\n"), "chat.max_cost_usd"),
    "negative": (holding(b"[chat]\ntokens = -1\n"), "chat.tokens"),
    "nul": (holding(b'host = "a"\n\0'), ""),
    "UTF-16 without a mark": (holding(GOOD.decode().encode("utf-16-le")), ""),
    "UTF-16 cut": (holding(GOOD.decode().encode("utf-16")[:-1]), ""),
    "surrogate": (holding(b'host = "\xed\xa0\x80"\n'), "not UTF-8"),
    "host a table": (holding(b"[host]\na = 1\n"), "host"),
    "host long": (holding(b'host = "' + b"x" * 60_000 + b'"\n'), "host"),
    "dotted host": (holding(b"host.name = 1\n"), "host"),
    "cap": (holding(b'[chat]\nmax_cost_usd = "much"\n'), "chat.max_cost_usd"),
}


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def fix(path: Path) -> None:
    remove(path)
    path.write_bytes(GOOD)


@pytest.fixture
def file(home: Home) -> Path:
    home.variables["RLMWATCH_HOST"] = "here"
    return home.workspace / "rlmwatch.toml"


def test_the_attacks_would_work(tmp_path):
    """Control: read as an ordinary file is, each of them blocks, fills the memory, or raises what nobody expects."""
    fifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="No such device") as nobody_reads:
        os.open(tmp_path / "fifo", os.O_WRONLY | os.O_NONBLOCK)  # whoever reads it waits for a writer
    assert nobody_reads.value.errno == errno.ENXIO
    endless(tmp_path / "link")
    with (tmp_path / "link").open("rb") as zeros:
        assert len(zeros.read(1 << 20)) == 1 << 20
    sparse(tmp_path / "sparse")
    assert (tmp_path / "sparse").stat().st_size == 3 << 30
    for name, wrong in (("number", ValueError), ("brackets", RecursionError)):
        HOSTILE[name][0](tmp_path / name)
        with pytest.raises(wrong) as raised:
            tomllib.loads((tmp_path / name).read_text())
        assert not isinstance(raised.value, tomllib.TOMLDecodeError)
    table = tomllib.loads((b"chat." + b"a." * 2_000 + b"b = 1\n").decode())
    for _ in range(2_001):
        table = next(iter(table.values()))
    assert table == {"b": 1}


@pytest.mark.parametrize("name", HOSTILE)
def test_reading_it_ends_with_words(tmp_path, name):
    """Reading costs a bounded time and memory, and ends in an error that names the file and what is wrong."""
    make, why = HOSTILE[name]
    make(tmp_path / "rlmwatch.toml")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConfigError, match=rf"rlmwatch\.toml( \(line \d+\))?: .*{why}"):
        load(user_dir=tmp_path / "none", workspace=tmp_path, environ={})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB


@pytest.mark.parametrize("name", HOSTILE)
def test_a_daemon_starts_says_why_and_goes_on_when_it_is_fixed(home: Home, file: Path, name: str):
    """It answers nothing while nobody knows who answers and under which caps; then the save that was made meanwhile."""
    make, why = HOSTILE[name]
    make(file)
    home.save("chat_input.txt", "meanwhile")
    with home.daemon() as daemon:
        wrong = daemon.wait("settings.wrong")
        assert why in wrong["why"]
        assert wrong["done"] == "answering nothing"
        assert why in home.appears("rlmwatch_error.txt")
        status = home.cli("status", "--workspace", str(home.workspace), "--json")
        assert status.returncode == 0
        assert why in status.stdout
        assert home.provider.calls == []
        fix(file)
        daemon.answered("chat_output.txt")
        assert home.provider.calls[-1].body["max_tokens"] == 77
        assert not (home.workspace / "rlmwatch_error.txt").exists()


@pytest.mark.parametrize("name", ["fifo", "link", "sparse", "folder", "brackets", "forbidden"])
def test_a_daemon_that_runs_goes_on_as_it_was(home: Home, file: Path, name: str):
    """It keeps the last good settings, says what is wrong, also to a SIGHUP, and takes the fixed file by itself."""
    make, why = HOSTILE[name]
    fix(file)
    with home.daemon() as daemon:
        daemon.wait("ready")
        remove(file)
        make(file)
        assert daemon.wait("settings.wrong", done="the last good settings stay")
        assert why in home.appears("rlmwatch_error.txt")
        home.save("chat_input.txt", "as before")
        daemon.answered("chat_output.txt")
        assert home.provider.calls[-1].body["max_tokens"] == 77
        daemon.hup()
        assert why in daemon.wait("reload.failed")["why"]
        remove(file)
        file.write_bytes(GOOD.replace(b"77", b"99"))
        daemon.wait("reloaded")
        home.save("b_chat_input.txt", "afterwards")
        daemon.answered("b_chat_output.txt")
        assert home.provider.calls[-1].body["max_tokens"] == 99
        assert not (home.workspace / "rlmwatch_error.txt").exists()


def test_a_host_in_standby_stays_there(home: Home, file: Path):
    """A file that cannot be understood any more makes no second machine answer."""
    file.write_text('host = "attic"\n')
    with home.daemon() as daemon:
        daemon.wait("host.standby")
        remove(file)
        folder(file)
        daemon.wait("settings.wrong")
        home.save("chat_input.txt", "hello")
        remove(file)
        file.write_text('host = "attic"\n# again\n')
        daemon.wait("reloaded")
        assert daemon.seen("ready") == []
        assert home.provider.calls == []


@pytest.mark.parametrize("name", ["half", "folder", "socket"])
def test_taking_over_waits_for_a_good_file(home: Home, file: Path, name: str):
    """`--take-over` on a folder whose file is wrong starts, says why, and moves the folder when the file is right."""
    make, why = HOSTILE[name]
    make(file)
    home.save("chat_input.txt", "meanwhile")
    with home.daemon("--take-over") as daemon:
        assert why in daemon.wait("settings.wrong", done="answering nothing")["why"]
        assert home.provider.calls == []
        remove(file)
        file.write_text('host = "attic"\n[chat]\ntokens = 77\n')
        daemon.wait("host.taken_over", before="attic")
        daemon.answered("chat_output.txt")
        assert home.provider.calls[-1].body["max_tokens"] == 77
