"""What can happen to a watched folder, under the real daemon: nothing is lost, nothing runs twice, the log says so."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import pytest
from servers.openai_server import OpenAIServer, Reply
from system.daemon import Daemon
from system.harness import Brain, Home, as_an_ordinary_user, question
from system.together import Scenario, begin, name


def questions(provider: OpenAIServer) -> Counter[str]:
    """Return how often each text was asked."""
    return Counter(question(call.body) for call in provider.calls)


def once(*texts: str) -> Counter[str]:
    return Counter(dict.fromkeys(texts, 1))


def still_answers(home: Home, daemon: Daemon, mark: str) -> set[str]:
    """See that saves are answered as ever; return what was asked for it. What was saved before has been read then."""
    for number in (1, 2):
        home.save(f"{mark}_input.txt", f"{mark} {number}")
        daemon.answered(f"{mark}_output.txt", number)
    return {f"{mark} 1", f"{mark} 2"}


def delete(folder: Path) -> None:
    """Delete a folder in place, as `rm -r` does, which may have to be said again where somebody writes into it."""
    for _ in range(9):
        with suppress(OSError):
            shutil.rmtree(folder)
            return
    shutil.rmtree(folder)


def in_a_mount_namespace(*prepare: str) -> tuple[str, ...]:
    """Return the command before a daemon's that gives it its own mounts, and does *prepare*; skip where it may not."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", " && ".join([*prepare, 'exec "$@"']), "-"]
    tried = [*command[:4], "true"]
    if not shutil.which("unshare") or subprocess.run(tried, capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here")
    return tuple(command)


def inside(daemon: Daemon, script: str) -> None:
    """Run a shell script among the mounts that *daemon* sees."""
    enter = ["nsenter", f"--target={daemon.pid}", "--user", "--mount", "--preserve-credentials"]
    subprocess.run([*enter, "sh", "-ec", script], check=True, capture_output=True, timeout=30)


def events_that_the_kernel_dropped(home: Home, provider: OpenAIServer, _brain: Brain) -> None:
    """
    Of 20,000 files that are saved while the daemon stands still every question is answered, each once.

    The kernel keeps some 16,000 events; the daemon says that it lost the others, and walks.
    """
    noise, asked = 20_000, 100
    (home.workspace / "sub").mkdir()
    with home.daemon() as daemon:
        os.kill(daemon.pid, signal.SIGSTOP)
        for number in range(noise):
            (home.workspace / "sub" / f"{number}.txt").touch()
        for number in range(asked):
            home.save(f"sub/{number}_input.txt", f"question {number}")
        os.kill(daemon.pid, signal.SIGCONT)
        assert daemon.wait("watch.events_lost")["done"] == "rescan"
        daemon.wait("watch.walked", reason="overflow", differing=asked)
        daemon.wait("answer.written", asked)
        more = still_answers(home, daemon, "later")
    assert questions(provider) == once(*more, *(f"question {number}" for number in range(asked)))


def a_workspace_that_goes_and_comes_back(home: Home, provider: OpenAIServer, _brain: Brain) -> None:
    """
    A workspace that is moved away, deleted and made anew, or replaced by a copy: the daemon says so, waits, goes on.

    What was saved meanwhile is answered, what was answered before is not.
    """
    away = home.root / "away"
    texts: set[str] = set()
    home.save("deep/er/note_input.txt", "before")
    with home.daemon() as daemon:
        daemon.answered("deep/er/note_output.txt")

        home.workspace.rename(away)
        assert "missing" in daemon.wait("watch.paused", 1)["reason"]
        (away / "deep" / "moved_input.txt").write_text("saved while it was away")
        away.rename(home.workspace)
        daemon.wait("watch.resumed", 1)
        daemon.answered("deep/moved_output.txt")
        texts |= still_answers(home, daemon, "deep/back")

        shutil.copytree(home.workspace, away)
        delete(home.workspace)
        daemon.wait("watch.paused", 2)
        home.save("deep/er/new_input.txt", "in the new folder")
        daemon.wait("watch.resumed", 2)
        daemon.answered("deep/er/new_output.txt")
        assert daemon.seen("workspace.replaced")
        texts |= still_answers(home, daemon, "deep/anew")

        (away / "deep" / "copy_input.txt").write_text("saved in the copy")
        home.workspace.rename(home.root / "old")
        away.rename(home.workspace)
        daemon.wait("watch.restarted", reason="root_replaced")
        daemon.answered("deep/copy_output.txt")
        texts |= still_answers(home, daemon, "deep/copied")
    expected = {"before", "saved while it was away", "in the new folder", "saved in the copy"}
    assert questions(provider) == once(*texts, *expected)


def folders_that_come_at_once(home: Home, provider: OpenAIServer, _brain: Brain) -> None:
    """A hundred folders made and filled at once, and a tree that is moved in, are answered, and watched afterwards."""
    tree = home.root / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "note_input.txt").write_text("moved in")
    made = [f"{number}/x/y" for number in range(100)]
    with home.daemon() as daemon:
        for path in made:
            home.save(f"{path}/note_input.txt", f"made in {path}")
        tree.rename(home.workspace / "tree")
        daemon.wait("answer.written", 101)
        for path in ("99/x/y", "0/x", "tree/a/b"):
            home.save(f"{path}/later_input.txt", f"later in {path}")
            daemon.answered(f"{path}/later_output.txt")
        texts = still_answers(home, daemon, "tree/a/b/last")
    later = {f"later in {path}" for path in ("99/x/y", "0/x", "tree/a/b")}
    assert questions(provider) == once("moved in", *texts, *later, *(f"made in {path}" for path in made))


def a_workspace_that_is_mounted_over(home: Home, provider: OpenAIServer, _brain: Brain) -> None:
    """Where something is mounted over the workspace the daemon goes on with it; what is saved below waits, unlost."""
    home.save("note_input.txt", "before")
    with home.daemon(before=in_a_mount_namespace()) as daemon:
        daemon.answered("note_output.txt")
        inside(daemon, f"mount -t tmpfs none {home.workspace}")
        daemon.wait("watch.restarted", reason="root_replaced")
        home.save("below_input.txt", "saved below the mount")
        inside(daemon, f"printf 'saved in the mount' > {home.workspace}/mount_input.txt")
        daemon.answered("mount_output.txt")
        inside(daemon, f"umount {home.workspace}")
        daemon.wait("watch.restarted", 2, reason="root_replaced")
        # The folder below might be an empty mount point, so its saves wait until the daemon is started on it.
        assert "not mounted" in daemon.wait("workspace.waiting", path="below_input.txt")["why"]
    with home.daemon() as daemon:
        daemon.answered("below_output.txt")
        texts = still_answers(home, daemon, "last")
    assert questions(provider) == once("before", "saved below the mount", "saved in the mount", *texts)


def a_workspace_that_is_unmounted(home: Home, provider: OpenAIServer, _brain: Brain) -> None:
    """
    An unmounted workspace is waited for: its empty shell is not it.

    A question that is saved in the shell is not asked before the mount is back.
    """
    disk = home.root / "disk"
    disk.mkdir()
    mount = f"mount --bind {disk} {home.workspace}"
    with home.daemon(before=in_a_mount_namespace(f"mount -t tmpfs none {disk}", mount)) as daemon:
        inside(daemon, f"printf 'on the disk' > {disk}/note_input.txt")
        daemon.answered("note_output.txt")
        inside(daemon, f"umount {home.workspace}")
        daemon.wait("watch.restarted")
        home.save("shell_input.txt", "in the shell")
        assert "not mounted" in daemon.wait("workspace.waiting")["why"]
        assert provider.count == 1
        inside(daemon, f"printf 'saved on the disk meanwhile' > {disk}/disk_input.txt")
        inside(daemon, mount)
        daemon.wait("watch.restarted", 2)
        daemon.answered("disk_output.txt")
        daemon.answered("shell_output.txt")
        inside(daemon, f"grep -qx 're: in the shell' {disk}/shell_output.txt")
    assert questions(provider) == once("on the disk", "in the shell", "saved on the disk meanwhile")


def a_disk_that_is_mounted_below_later(home: Home, provider: OpenAIServer, _brain: Brain) -> None:
    """What is saved on a disk that was mounted in the watched folder is answered at once, there and after it went."""
    folder = home.workspace / "disk"
    folder.mkdir()
    with home.daemon(before=in_a_mount_namespace()) as daemon:
        inside(daemon, f"mount -t tmpfs none {folder}")
        daemon.wait("watch.mounts_changed")
        daemon.wait("watch.walked", reason="restart")
        inside(daemon, f"mkdir {folder}/sub && printf 'saved on the disk' > {folder}/sub/disk_input.txt")
        daemon.answered("disk/sub/disk_output.txt")
        inside(daemon, f"umount {folder}")
        daemon.wait("watch.mounts_changed", 2)
        daemon.wait("watch.walked", 2, reason="restart")
        home.save("disk/shell_input.txt", "saved where it was")
        daemon.answered("disk/shell_output.txt")
        texts = still_answers(home, daemon, "last")
    assert questions(provider) == once("saved on the disk", "saved where it was", *texts)


def a_folder_that_may_not_be_read(home: Home, provider: OpenAIServer, _brain: Brain) -> None:
    """A sub-folder that the daemon may not read is named in the log; the others are answered, and it once it may."""
    home.save("open/note_input.txt", "open")
    home.save("shut/note_input.txt", "shut")
    (home.workspace / "shut").chmod(0)
    with home.daemon(before=as_an_ordinary_user()) as daemon:
        told = daemon.wait("watch.folder_unreadable")
        assert (told["path"], told["done"]) == ("shut", "passed over")
        daemon.answered("open/note_output.txt")
        (home.workspace / "shut").chmod(0o755)
        (home.workspace / "shut").rename(home.workspace / "opened")  # as the walk that comes each minute, sooner
        daemon.answered("opened/note_output.txt")
        texts = still_answers(home, daemon, "last")
    assert questions(provider) == once("open", "shut", *texts)


def a_mount_that_makes_no_events(home: Home, provider: OpenAIServer, _brain: Brain) -> None:
    """On a file system that changes elsewhere, with no event here, the daemon says that it polls, and answers."""
    server = home.root / "server"
    server.mkdir()
    if not shutil.which("bindfs") or not shutil.which("setpriv") or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("no bindfs, or no FUSE here")
    # Left to itself it would go into the background, and keep its name space alive for ever.
    serve = f"setpriv --pdeathsig KILL bindfs -f {server} {home.workspace} </dev/null >/dev/null 2>&1 &"
    mounted = f"while ! mountpoint -q {home.workspace}; do sleep 0.02; done"
    with home.daemon(before=in_a_mount_namespace(f"{serve} {mounted}")) as daemon:
        told = daemon.wait("watch.remote_mount")
        assert (told["done"], told["type"].partition(".")[0]) == ("polling", "fuse")
        (server / "note_input.txt").write_text("changed on the server")
        daemon.answered("note_output.txt")
        assert (server / "note_output.txt").read_text() == "re: changed on the server\n"
    assert questions(provider) == once("changed on the server")


def a_wall_clock_that_jumps(home: Home, provider: OpenAIServer, _brain: Brain) -> None:
    """When the wall clock jumps a day ahead and a year back every save runs once, and every answer is kept."""
    day = 86_400
    offsets = (0, day, -365 * day, -364 * day, 0)
    texts = [f"turn {number}, {offset} s" for number, offset in enumerate(offsets)]
    wall = home.root / "clock"
    wall.write_text("0")
    program = [str(Path(__file__).with_name("clock_child.py")), str(home.workspace), str(wall)]
    with home.daemon(program=program) as daemon:
        for number, (offset, text) in enumerate(zip(offsets, texts, strict=True), 1):
            # In one rename: the daemon asks the time at any moment.
            wall.with_suffix(".new").write_text(str(offset))
            wall.with_suffix(".new").replace(wall)
            home.save("a/x_input.txt", text)
            daemon.answered("a/x_output.txt", number)
        assert not home.exists("a/x_error.txt")
    with home.daemon() as daemon:
        more = still_answers(home, daemon, "a/last")
    assert questions(provider) == once(*texts, *more)
    assert sorted(home.turns("a/x_state.json")) == texts
    statuses = [status for status in home.statuses() if status["input"] == "a/x_input.txt"]
    assert sorted(status["answer"] for status in statuses) == [f"re: {text}" for text in texts]
    assert {status["status"] for status in statuses} == {"complete"}


def a_disk_of_the_state_folder_that_fills(home: Home, provider: OpenAIServer, brain: Brain) -> None:
    """
    A paid reply that the ledger cannot store waits in memory, also beyond the time limit, and later saves behind it.

    The status file says so; once there is space both are answered, each paid for once.
    """
    state = home.root / "state"
    state.mkdir(exist_ok=True)
    answer = threading.Event()
    brain.on("dear", Reply("the dear answer", until=answer))
    with home.daemon(before=in_a_mount_namespace(f"mount -t tmpfs -o size=8m none {state}")) as daemon:
        home.save("note_input.txt", "---\nmax_seconds: 6\n---\ndear")
        provider.wait_for_calls(1)
        inside(daemon, f"cat /dev/zero > {state}/fill || true")
        answer.set()
        assert "full" in daemon.wait("ledger.waiting")["why"]
        status = next(home.workspace.glob("jobs/*.json")).relative_to(home.workspace).as_posix()
        home.appears(status, "kept in memory")
        home.save("note_input.txt", "second")
        time.sleep(7)  # longer than the time limit: nothing else tells that it does not count
        assert provider.count == 1
        inside(daemon, f"rm {state}/fill")
        daemon.answered("note_output.txt", 2)
        turns = json.loads(home.read("note_state.json"))["turns"]
        assert [(turn["input"].strip(), turn["answer"]) for turn in turns] == [
            ("dear", "the dear answer"),
            ("second", "re: second"),
        ]
    assert provider.count == 2


FAULTS = (
    a_disk_of_the_state_folder_that_fills,
    events_that_the_kernel_dropped,
    a_workspace_that_goes_and_comes_back,
    folders_that_come_at_once,
    a_workspace_that_is_mounted_over,
    a_workspace_that_is_unmounted,
    a_disk_that_is_mounted_below_later,
    a_folder_that_may_not_be_read,
    a_mount_that_makes_no_events,
    a_wall_clock_that_jumps,
)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Scenario, Future[None]]]:
    """All of them at once: they mostly wait."""
    with begin(FAULTS, tmp_path_factory.mktemp("faults")) as futures:
        yield futures


@pytest.mark.parametrize("fault", FAULTS, ids=name)
def test_no_save_is_lost_and_none_runs_twice(begun: dict[Scenario, Future[None]], fault: Scenario):
    """Whatever happens to the folder, each save runs once, and the log says what happened and what was done."""
    begun[fault].result()
