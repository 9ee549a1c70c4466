"""One save is one run: never two, never none (file contract, 2), with the real daemon."""

from __future__ import annotations

import os
import shutil
import signal
import threading

from servers.openai_server import OpenAIServer, Reply
from system.conftest import Shared
from system.harness import Brain, Home, asked


def test_the_same_bytes_again_start_nothing(shared: Shared):
    """A second Ctrl+S, a touch, and the file taken away and put back with the same text ask nothing; a change does."""
    file = shared.home.workspace / "same_input.txt"
    shared.home.save("same_input.txt", "same bytes")
    shared.daemon.answered("same_output.txt")
    shared.home.save("same_input.txt", "same bytes")
    shared.daemon.wait("save.same_bytes", 1, path="same_input.txt")
    new = file.with_name(".same.tmp")
    new.write_text("same bytes")
    new.replace(file)
    shared.daemon.wait("save.same_bytes", 2, path="same_input.txt")
    os.close(os.open(file, os.O_WRONLY))
    os.utime(file)
    shared.daemon.wait("save.same_bytes", 3, path="same_input.txt")
    shared.home.save("same_input.txt", "same bytes\n")
    shared.daemon.answered("same_output.txt", 2)
    assert len(shared.asked("same bytes")) == 2
    assert shared.home.turns("same_state.json") == ["same bytes", "same bytes\n"]


def test_blank_inputs_are_no_saves_and_the_log_says_so(shared: Shared):
    """An empty or white-space-only input starts nothing, says so in the log, and leaves the last answer."""
    shared.home.save("blank_input.txt", " \n\t\n")
    shared.daemon.wait("save.skipped", path="blank_input.txt", reason="blank")
    assert not shared.home.exists("blank_output.txt")
    assert not shared.home.exists("blank_error.txt")
    shared.home.save("blank_input.txt", "no longer blank")
    shared.daemon.answered("blank_output.txt")
    assert [s["status"] for s in shared.home.statuses() if s["input"] == "blank_input.txt"] == ["complete"]


def test_several_saves_during_a_run_are_answered_in_order_and_other_conversations_beside_it(shared: Shared):
    """Saves of one conversation queue behind its run, in order; other conversations do not wait for it."""
    go_on = threading.Event()
    shared.brain.on("order 1", Reply("first", until=go_on))
    shared.home.save("order/a_input.txt", "order 1")
    shared.daemon.wait("run.started", path="order/a_input.txt")
    for number in (2, 3):
        shared.home.save("order/a_input.txt", f"order {number}")
        shared.daemon.wait("save.admitted", number, path="order/a_input.txt")
    shared.home.save("order/b_input.txt", "the other one")
    shared.home.save("elsewhere/a_input.txt", "the third one")
    shared.daemon.answered("order/b_output.txt")
    shared.daemon.answered("elsewhere/a_output.txt")
    assert not shared.home.exists("order/a_output.txt")
    go_on.set()
    shared.daemon.answered("order/a_output.txt", 3)
    assert [call.body["messages"][-1]["content"] for call in shared.asked("order ")] == [
        f"order {n}" for n in (1, 2, 3)
    ]
    assert shared.home.turns("order/a_state.json") == ["order 1", "order 2", "order 3"]
    assert shared.home.read("order/a_output.txt") == "re: order 3\n"


def test_a_later_save_does_not_change_a_run_that_is_admitted(shared: Shared):
    """What is asked is what stood in the file when it was admitted, whatever is saved later."""
    go_on = threading.Event()
    shared.brain.on("captured: running", Reply("ok", until=go_on))
    shared.home.save("cap_input.txt", "captured: running")
    shared.daemon.wait("run.started", path="cap_input.txt")
    shared.home.save("cap_input.txt", "captured: waiting")
    shared.daemon.wait("save.admitted", 2, path="cap_input.txt")
    (shared.home.workspace / "cap_input.txt").unlink()
    go_on.set()
    shared.daemon.answered("cap_output.txt", 2)
    assert shared.home.turns("cap_state.json") == ["captured: running", "captured: waiting"]


def test_what_was_answered_is_known_after_a_restart_and_without_the_ledger(home: Home, provider: OpenAIServer):
    """A restart, a deleted ledger and a deleted state folder ask nothing a second time; a save made while down runs."""
    for name in ("a", "b", "c"):
        home.save(f"{name}_input.txt", f"question {name}")
    with home.daemon() as daemon:
        for name in ("a", "b", "c"):
            daemon.answered(f"{name}_output.txt")
    (home.workspace / "b_state.json").unlink()  # its status file still knows
    shutil.rmtree(home.workspace / "jobs" / "none", ignore_errors=True)
    for number, loses in enumerate((None, home.ledger, home.states)):
        if loses is not None and loses.is_dir():
            shutil.rmtree(loses)
        elif loses is not None:
            for file in loses.parent.glob(loses.name + "*"):
                file.unlink()
        home.save("down_input.txt", f"saved while it was down, {number}")
        os.utime(home.workspace / "a_input.txt")
        with home.daemon() as daemon:
            daemon.answered("down_output.txt")
    assert provider.count == 3 + 3
    assert len(home.turns("down_state.json")) == 3


def test_a_state_file_alone_tells_what_was_answered(home: Home, provider: OpenAIServer):
    """Where another machine's sync brought only inputs and state files, nothing is answered a second time."""
    home.save("a_input.txt", "question a")
    with home.daemon() as daemon:
        daemon.answered("a_output.txt")
    shutil.rmtree(home.states)
    shutil.rmtree(home.workspace / "jobs")
    home.save("b_input.txt", "question b")
    with home.daemon() as daemon:
        daemon.answered("b_output.txt")
        daemon.wait("save.already_answered", path="a_input.txt")
    assert provider.count == 2


def test_replace_drops_what_waits_and_cancel_also_what_runs(home: Home, provider: OpenAIServer, brain: Brain):
    """`on_new_save = "replace"` drops saves that have not started, "cancel" also ends the run that goes on."""
    go_on = threading.Event()
    brain.on("slow", Reply("slow answer", until=go_on))
    home.save("rlmwatch.toml", 'on_new_save = "replace"\n')
    with home.daemon() as daemon:
        for number, text in enumerate(("slow one", "dropped", "kept"), 1):
            home.save("a_input.txt", text)
            daemon.wait("save.admitted", number, path="a_input.txt")
            daemon.wait("run.started", path="a_input.txt")
        go_on.set()
        daemon.answered("a_output.txt", 2)
        assert home.turns("a_state.json") == ["slow one", "kept"]
        assert asked(provider, "dropped") == []
        by_status = {s["status"]: s["outcome"] for s in home.statuses()}
        assert by_status == {"complete": "success", "cancelled": "replaced"}

        go_on.clear()
        home.save("rlmwatch.toml", home.read("rlmwatch.toml").replace('"replace"', '"cancel"'))
        daemon.hup()
        home.save("b_input.txt", "slow again")
        provider.wait_for_calls(3)
        home.save("b_input.txt", "quick")
        provider.wait_for_hang_ups(1)  # the connection closes at once, which stops the bill
        daemon.answered("b_output.txt")
        assert home.turns("b_state.json") == ["quick"]


def test_only_a_text_that_ends_in_the_ready_marker_is_a_save(home: Home, provider: OpenAIServer):
    """With `ready_marker`, only a file whose last non-blank line is that marker is asked, without the marker."""
    home.save("rlmwatch.toml", 'ready_marker = "//send"\n')
    with home.daemon() as daemon:
        home.save("a_input.txt", "I am still typing")
        daemon.wait("save.skipped", path="a_input.txt", reason=lambda why: "//send" in why)
        home.save("a_input.txt", "I have typed\n//send\n\n")
        daemon.answered("a_output.txt")
    assert [call.body["messages"][-1]["content"] for call in provider.calls] == ["I have typed\n"]


def test_what_is_no_input_starts_nothing(home: Home, provider: OpenAIServer):
    """Hidden files, editors' and sync tools' own files, conflict copies and the daemon's outputs are never asked."""
    others = (
        ".a_input.txt",
        ".a_input.txt.swp",
        "a_input.txt~",
        "#a_input.txt#",
        "~a_input.txt",
        ".git/a_input.txt",
        "node_modules/a_input.txt",
        "a_input.sync-conflict-20260101-120000-ABCDEFG.txt",
        "a_input (conflicted copy 2026-01-01).txt",
        ".syncthing.a_input.txt.tmp",
        "a_output.txt",
        "a_error.txt",
        "a_data.txt",
        "input.txt",
        "notes.txt",
        "jobs/a_input.txt",
    )
    for path in others:
        home.save(path, f"never ask {path}")
    with home.daemon() as daemon:
        for path in others:
            home.save(path, f"never ask {path}, again")
        home.save("real_input.txt", "ask this")
        daemon.answered("real_output.txt")
        home.save("real_input.txt", "ask this too")
        daemon.answered("real_output.txt", 2)
    assert [call.body["messages"][-1]["content"] for call in provider.calls] == ["ask this", "ask this too"]


def test_a_stop_lets_a_running_call_end(home: Home, provider: OpenAIServer, brain: Brain):
    """Ctrl+C in the middle of a call waits a moment for its answer, writes it, and ends with status 0."""
    go_on = threading.Event()
    brain.on("nearly", Reply("done", until=go_on))
    home.save("a_input.txt", "nearly there")
    with home.daemon() as daemon:
        provider.wait_for_calls(1)
        daemon.process.send_signal(signal.SIGINT)
        daemon.wait("stopping", running=1)
        go_on.set()
        assert daemon.ended() == 0
        daemon.wait("stopped")
    assert home.read("a_output.txt") == "done\n"
    assert home.status_of("a_input.txt")["status"] == "complete"


def test_a_run_that_is_under_way_at_the_stop_goes_on_at_the_next_start(
    home: Home, provider: OpenAIServer, brain: Brain
):
    """A second Ctrl+C does not wait: the connection closes, and the same run is answered at the next start."""
    brain.on("long", Reply("never", until=threading.Event()), "now")
    home.save("a_input.txt", "a long one")
    with home.daemon() as daemon:
        provider.wait_for_calls(1)
        daemon.process.send_signal(signal.SIGINT)
        daemon.wait("stopping")
        daemon.stop(signal.SIGINT)
    provider.wait_for_hang_ups(1)
    before = home.status_of("a_input.txt")
    assert before["status"] == "running"
    with home.daemon() as daemon:
        daemon.answered("a_output.txt")
    after = home.status_of("a_input.txt")
    assert (after["job_id"], after["status"], after["attempt"]) == (before["job_id"], "complete", 2)
    assert len(home.statuses()) == 1
    assert home.turns("a_state.json") == ["a long one"]


def test_a_writer_that_pauses_with_its_file_open_is_waited_for(shared: Shared):
    """Half of a text, with a whole line at its end too, is not asked while its writer is known to have it open."""
    shared.home.save("after_input.txt", "paused: before")
    shared.daemon.answered("after_output.txt")
    file = shared.home.workspace / "paused_input.txt"
    with file.open("w") as writing:
        writing.write("paused: half of it\n")
        writing.flush()
        line = shared.daemon.wait("save.waiting_for_writer", path="paused_input.txt")
        assert str(os.getpid()) in line["writer"]
        writing.write("and the rest")
    shared.daemon.answered("paused_output.txt")
    shared.home.save("after_input.txt", "paused: after")
    shared.daemon.answered("after_output.txt", 2)
    assert [call.body["messages"][-1]["content"] for call in shared.asked("paused: half")] == [
        "paused: half of it\nand the rest"
    ]


def test_a_name_that_is_written_otherwise_is_the_same_name(shared: Shared):
    """Letter case and normal form of a name start nothing anew; of two files that differ only so, the newer is told."""
    home, daemon = shared.home, shared.daemon
    for before, output, after in (
        ("Spelled_Input.TXT", "Spelled_output.TXT", "spelled_input.txt"),
        ("spelle\u0301_input.txt", "spelle\u0301_output.txt", "spell\u00e9_input.txt"),
    ):
        home.save(before, f"spelled: {before}")
        daemon.answered(output)
        (home.workspace / before).rename(home.workspace / after)
        daemon.wait("save.renamed", path=after, before=before)
    home.save("twin_input.txt", "spelled: the older twin")
    daemon.answered("twin_output.txt")
    home.save("Twin_input.txt", "spelled: the newer twin")
    daemon.wait("run.failed", path="Twin_input.txt")
    assert "twin_input.txt" in home.read("Twin_error.txt")
    home.save("twin_input.txt", "spelled: the older twin, again")
    daemon.answered("twin_output.txt", 2)
    assert len(shared.asked("spelled: ")) == 4
    assert not shared.asked("spelled: the newer twin")


def test_a_rename_in_letter_case_does_not_cancel_the_run(shared: Shared):
    """A name that is written otherwise while its run goes on is no deleted question."""
    go_on = threading.Event()
    shared.brain.on("renamed: while it runs", Reply("ok", until=go_on))
    shared.home.save("Moving_input.txt", "renamed: while it runs")
    shared.daemon.wait("run.started", path="Moving_input.txt")
    (shared.home.workspace / "Moving_input.txt").rename(shared.home.workspace / "moving_input.txt")
    shared.daemon.wait("save.renamed", path="moving_input.txt")
    shared.home.save("meanwhile_input.txt", "renamed: meanwhile")
    shared.daemon.answered("meanwhile_output.txt")
    go_on.set()
    shared.daemon.answered("Moving_output.txt")
    assert len(shared.asked("renamed: while it runs")) == 1
