"""A chat by files, with the real daemon: which file is asked, what is sent and written (file contract, 1 and 3)."""

from __future__ import annotations

import json
import re
import threading

import pytest
from servers.openai_server import Reply
from system.conftest import Shared
from system.harness import MODEL, question

RFC3339_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

NAMES = [
    ("chat_input.txt", "chat_output.txt", "chat_state.json"),
    ("pets_input.txt", "pets_output.txt", "pets_state.json"),
    ("cats_chat_input.txt", "cats_chat_output.txt", "cats_chat_state.json"),
    ("sub/folder/chat_input.txt", "sub/folder/chat_output.txt", "sub/folder/chat_state.json"),
    ("sub/a b ü_input.txt", "sub/a b ü_output.txt", "sub/a b ü_state.json"),
    ("notes/dogs_input.md", "notes/dogs_output.md", "notes/dogs_state.json"),
]


@pytest.mark.parametrize(("path", "output", "state"), NAMES, ids=[name[0] for name in NAMES])
def test_an_inputs_name_says_where_its_answer_and_memory_are(shared: Shared, path: str, output: str, state: str):
    """A saved input is answered beside it, under its own name and ending, and remembered there."""
    shared.home.save(path, f"Question of {path}\n")
    shared.daemon.answered(output)
    assert shared.home.read(output) == f"re: Question of {path}\n"
    assert shared.home.turns(state) == [f"Question of {path}\n"]
    assert len(shared.asked(f"Question of {path}")) == 1


def test_an_output_holds_the_answer_and_nothing_else(shared: Shared):
    """The output file is the answer alone, with a final newline, to be piped on; nothing else stays behind."""
    shared.brain.on("only the answer", "  The answer.\n")
    shared.home.save("only/x_input.txt", "only the answer")
    shared.daemon.answered("only/x_output.txt")
    assert shared.home.read("only/x_output.txt") == "The answer.\n"
    names = {file.name for file in (shared.home.workspace / "only").iterdir()}
    assert names == {"x_input.txt", "x_output.txt", "x_state.json"}


def test_the_status_file_has_every_field_of_the_contract(shared: Shared):
    """`jobs/<run id>.json` says of a run what the file contract lists, and is true."""
    shared.brain.on("every field", Reply("Yes.", cost=0.00031))
    shared.home.save("fields_input.txt", "---\ntokens: 50\nmax_tokens: 77\n---\nevery field?")
    shared.daemon.answered("fields_output.txt")
    found = shared.home.status_of("fields_input.txt")
    run = shared.daemon.wait("run.started", path="fields_input.txt")["run"]
    times = [found.pop(name) for name in ("created_at", "started_at", "completed_at", "updated_at")]
    assert all(RFC3339_UTC.fullmatch(time) for time in times)
    assert times == sorted(times)
    assert re.fullmatch(r"\d{8}T\d{6}Z-chat-[0-9a-f]{6,}", run)
    assert found.pop("input_digest").startswith("sha256:")
    assert found.pop("progress").keys() == {"step", "max_steps", "note", "context_chars"}
    assert found.pop("host")
    assert found == {
        "schema_version": 2,
        "job_id": run,
        "kind": "chat",
        "status": "complete",
        "outcome": "success",
        "partial": False,
        "input": "fields_input.txt",
        "output": "fields_output.txt",
        "save_number": 1,
        "usage": {
            "input_tokens": found["usage"]["input_tokens"],
            "output_tokens": 1,
            "cost_usd": 0.00031,
            "llm_calls": 1,
            "searches": 0,
        },
        "budget": {"max_cost_usd": None, "max_tokens": 77},
        "answer": "Yes.",
        "error": None,
        "attempt": 1,
        "pid": shared.daemon.pid,
        "model": MODEL,
        "notes": [],
    }
    assert (shared.home.workspace / "jobs" / f"{run}.json").is_file()


def test_a_status_moves_only_forward_and_complete_means_that_the_answer_is_there(shared: Shared):
    """A poller sees pending, running, complete in this order, and finds the whole answer once it sees complete."""
    go_on = threading.Event()
    shared.brain.on("forward only", Reply("Done at last.", until=go_on))
    shared.home.save("forward_input.txt", "forward only")
    run = shared.daemon.wait("run.started", path="forward_input.txt")["run"]
    file = shared.home.workspace / "jobs" / f"{run}.json"
    seen: list[str] = []
    early: list[str] = []
    quit_ = threading.Event()

    def poll() -> None:
        while not quit_.is_set():
            status = json.loads(file.read_text("utf-8"))["status"] if file.exists() else "none"
            if seen[-1:] != [status]:
                seen.append(status)
            if status == "complete":
                early.extend([] if shared.home.exists("forward_output.txt") else ["no answer yet"])
                return

    poller = threading.Thread(target=poll)
    poller.start()
    shared.provider.wait_for_calls(1)
    go_on.set()
    shared.daemon.answered("forward_output.txt")
    poller.join(30)
    quit_.set()
    order = ["none", "pending", "running", "complete"]
    assert seen == [status for status in order if status in seen]
    assert seen[-1] == "complete"
    assert early == []


def test_the_request_is_the_history_as_alternating_messages_and_the_input_alone(shared: Shared):
    """The model gets the turns before as user and assistant messages, and the input as the last message, unchanged."""
    for number in (1, 2, 3):
        shared.home.save("talk/x_input.txt", f"turn {number} of the talk\nsecond line\n")
        shared.daemon.answered("talk/x_output.txt", number)
    last = shared.asked("turn 3 of the talk")[0].body
    roles = [message["role"] for message in last["messages"]]
    texts = [message["content"] for message in last["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert texts[1] == "turn 1 of the talk\nsecond line\n"
    assert texts[2] == "re: turn 1 of the talk\nsecond line"
    assert texts[5] == "turn 3 of the talk\nsecond line\n"
    assert last["model"] == MODEL
    assert last.get("max_completion_tokens", last.get("max_tokens")) == 300
    assert shared.home.turns("talk/x_state.json") == [f"turn {n} of the talk\nsecond line\n" for n in (1, 2, 3)]


def test_the_history_is_8000_characters_newest_turns_first(shared: Shared):
    """Of a long conversation the newest turns are sent, whole, at most 8,000 characters; a person may edit them."""
    turns = [{"input": f"old {n} " + "x" * 994, "answer": f"said {n} " + "y" * 993} for n in range(10)]
    shared.home.save("long_state.json", json.dumps({"schema_version": 1, "my_note": "keep me", "turns": turns}))
    shared.home.save("long_input.txt", "now with history")
    shared.daemon.answered("long_output.txt")
    texts = [message["content"] for message in shared.asked("now with history")[0].body["messages"][1:-1]]
    assert texts == [text for turn in turns[-4:] for text in (turn["input"], turn["answer"])]
    assert sum(map(len, texts)) == 8_000
    state = shared.home.state("long_state.json")
    assert len(state["turns"]) == 11
    assert state["my_note"] == "keep me"


def test_a_deleted_state_file_starts_afresh(shared: Shared):
    """Whoever deletes a state file starts the conversation afresh."""
    shared.home.save("afresh_input.txt", "afresh: first")
    shared.daemon.answered("afresh_output.txt")
    (shared.home.workspace / "afresh_state.json").unlink()
    shared.home.save("afresh_input.txt", "afresh: second")
    shared.daemon.answered("afresh_output.txt", 2)
    assert [m["role"] for m in shared.asked("afresh: second")[0].body["messages"]] == ["system", "user"]
    assert shared.home.turns("afresh_state.json") == ["afresh: second"]


def test_a_damaged_state_file_is_set_aside_and_the_person_is_told(shared: Shared):
    """A damaged state file is moved aside, not overwritten; the conversation starts afresh, and the status says so."""
    shared.home.save("hurt_state.json", '{"turns": [')
    shared.home.save("hurt_input.txt", "is it damaged?")
    shared.daemon.answered("hurt_output.txt")
    (aside,) = shared.home.workspace.glob("hurt_state.json.corrupt-*")
    assert aside.read_text() == '{"turns": ['
    assert shared.home.turns("hurt_state.json") == ["is it damaged?"]
    assert shared.daemon.seen("memory.moved_aside", path="hurt_state.json")
    notes = " ".join(shared.home.status_of("hurt_input.txt")["notes"])
    assert aside.name in notes


def test_front_matter_overrides_the_settings_for_one_run(shared: Shared):
    """What the front matter says holds for this run alone, and is no part of the prompt."""
    head = "---\nmodel: other-model\ntokens: 12\ntemperature: 0.5\nsystem: You are terse.\n---\n"
    shared.home.save("front_input.txt", f"{head}With front matter?\n")
    shared.daemon.answered("front_output.txt")
    body = shared.asked("With front matter?")[0].body
    assert body["model"] == "other-model"
    assert body.get("max_completion_tokens", body.get("max_tokens")) == 12
    assert body["temperature"] == 0.5
    assert body["messages"][0] == {"role": "system", "content": "You are terse."}
    assert question(body) == "With front matter?\n"


def test_an_answer_that_was_cut_short_is_delivered_and_says_so(shared: Shared):
    """An answer that reached its token limit is delivered; state and status files say `partial`, with the reason."""
    shared.brain.on("tell me all", "word " * 100)
    shared.home.save("cut_input.txt", "---\ntokens: 5\n---\ntell me all")
    shared.daemon.answered("cut_output.txt")
    assert shared.home.cut_short("cut_output.txt", "token limit") == "word word word word"
    status = shared.home.status_of("cut_input.txt")
    turn = shared.home.state("cut_state.json")["turns"][0]
    assert (status["status"], status["partial"], status["outcome"]) == ("complete", True, "token_limit")
    assert (turn["partial"], turn["reason"]) == (True, "token_limit")


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("utf8-bom", b"\xef\xbb\xbf" + "Grüße utf8-bom\r\nzweite\r\n".encode()),
        ("utf16-le", b"\xff\xfe" + "Grüße utf16-le\r\nzweite\r\n".encode("utf-16-le")),
        ("utf16-be", b"\xfe\xff" + "Grüße utf16-be\r\nzweite\r\n".encode("utf-16-be")),
        ("crlf", "Grüße crlf\r\nzweite\r\n".encode()),
    ],
    ids=["utf8-bom", "utf16-le", "utf16-be", "crlf"],
)
def test_encodings_that_editors_write_are_read(shared: Shared, name: str, raw: bytes):
    """A byte order mark is honoured and no part of the prompt, and Windows' line ends become plain ones."""
    shared.home.save(f"enc/{name}_input.txt", raw)
    shared.daemon.answered(f"enc/{name}_output.txt")
    assert question(shared.asked(f"Grüße {name}")[0].body) == f"Grüße {name}\nzweite\n"
    assert shared.home.read(f"enc/{name}_output.txt") == f"re: Grüße {name}\nzweite\n"
