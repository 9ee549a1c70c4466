"""What is read from the documents of the workspace, and what is written into them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmwatch.contract.documents import JobStatus, StatusFile, dump, read_status, read_submission, second, well_formed
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.memory import ChatState, Remark, Turn, last_asked, read_edited, remarks
from rlmwatch.errors import InputError, WorkspaceError

FIELDS_OF_THE_CONTRACT = [
    "schema_version",
    "job_id",
    "kind",
    "status",
    "outcome",
    "partial",
    "input",
    "output",
    "input_digest",
    "save_number",
    "created_at",
    "started_at",
    "completed_at",
    "updated_at",
    "progress",
    "usage",
    "budget",
    "answer",
    "error",
    "attempt",
    "pid",
    "host",
]


def test_status_has_every_field_of_the_contract_also_without_a_value():
    """A poller finds every field of the contract in every status file, in the contract's order."""
    written = json.loads(dump(StatusFile(job_id="x", kind=Kind.CHAT, status=JobStatus.PENDING)))
    assert [key for key in written if key in FIELDS_OF_THE_CONTRACT] == FIELDS_OF_THE_CONTRACT
    assert set(written["usage"]) == {"input_tokens", "output_tokens", "cost_usd", "llm_calls", "searches"}
    assert set(written["budget"]) == {"max_cost_usd", "max_tokens"}


def test_status_of_a_newer_daemon_is_read_without_its_new_fields():
    """Unknown fields of a status file are ignored when it is read, and not written again."""
    raw = b'{"job_id": "x", "kind": "exa", "status": "complete", "mood": "good", "usage": {"joules": 3}}'
    status = read_status(raw, job_id="x")
    assert status.status is JobStatus.COMPLETE
    assert b"mood" not in dump(status)
    assert b"joules" not in dump(status)


def test_submission_that_nobody_took_up_reads_as_a_pending_job():
    """A poller may read the status right after it submitted, before any daemon has seen it."""
    status = read_status(b'{"status": "pending", "task": "sum it up"}', job_id="mine")
    assert (status.job_id, status.status, status.kind) == ("mine", JobStatus.PENDING, Kind.JOB)


def test_statuses_have_stages_that_only_rise():
    """Pending comes before running, running before every end."""
    assert [s.stage for s in JobStatus] == [0, 1, 1, 2, 2, 2]
    assert [s.ended for s in JobStatus] == [False, False, False, True, True, True]


def test_submission_takes_the_options_of_front_matter():
    """A job file may say everything that front matter may say, in the same words."""
    raw = b"""{"status": "pending", "task": "count", "data": {"rows": [1, 2]}, "tokens": 20, "max_cost_usd": 1,
               "mode": "rlm", "tools": "research", "context": ["a.txt"], "webhook": "https://example.org/hook"}"""
    submission = read_submission(raw, job_id="x")
    assert submission is not None
    assert submission.data == {"rows": [1, 2]}
    options = submission.options()
    assert (options.tokens, options.max_cost_usd, options.mode) == (20, 1.0, "rlm")
    assert (options.tools, options.context) == (("research",), ("a.txt",))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('"task": "x", "tokns": 3', "`tokns`: no such key; there are context,"),
        ('"task": "x", "tokens": "many"', "`tokens`: "),
        ('"task": " \\n"', "`task`: is empty"),
        ('"tokens": 3', "`task`: is missing"),
        ('"task": "x", "data": "a", "data_path": "b"', "not both"),
        ('"task": "x", "webhook": "file:///etc"', "`webhook`: "),
        ('"task": "x", "job_id": "other"', "the file is named x.json"),
        ('"task": "x", "max_cost_usd": 0', "`max_cost_usd`: "),
    ],
)
def test_faulty_submission_names_the_key(body, says):
    """Each mistake in a job file is named with its key: a mistyped cap is not a missing cap."""
    with pytest.raises(InputError) as caught:
        read_submission(b'{"status": "pending", ' + body.encode() + b"}", job_id="x")
    assert says in str(caught.value)


def test_all_faults_of_a_submission_are_told_at_once():
    """A person who made two mistakes hears of both."""
    with pytest.raises(InputError, match=r"`tokens`.*`temperature`"):
        read_submission(b'{"status": "pending", "task": "x", "tokens": 0, "temperature": 9}', job_id="x")


def test_submission_with_broken_json_is_told_where():
    """A job file that is no JSON is an error with line and column."""
    with pytest.raises(InputError, match="line 2, column 1") as caught:
        read_submission(b'{"status": "pending"\n"task": "x"}', job_id="x")
    assert (caught.value.line, caught.value.column) == (2, 1)


def test_status_files_are_no_submissions():
    """What a daemon wrote into `jobs/` is not taken for a new job, whatever its status is."""
    for status in JobStatus:
        ours = StatusFile(job_id="x", kind=Kind.JOB, status=status, input="chat_input.txt", input_digest="sha256:1")
        assert read_submission(dump(ours), job_id="x") is None


def test_task_with_another_status_than_pending_is_an_error():
    """A job file with a task and no `pending` is not passed over in silence."""
    with pytest.raises(InputError, match='`status` must be "pending"'):
        read_submission(b'{"task": "x"}', job_id="x")


def test_chat_state_needs_only_questions_and_answers():
    """A person may write a state file by hand, also with an editor that adds a BOM."""
    state = read_edited(b'\xef\xbb\xbf{"turns": [{"input": "hi", "answer": "hello"}]}', ChatState)
    assert [(turn.input, turn.answer) for turn in state.turns] == [("hi", "hello")]


def test_keys_that_a_person_adds_survive():
    """What a person adds to a state file is still there after the next turn."""
    state = read_edited(b'{"mine": [1], "turns": [{"input": "hi", "answer": "hello", "stars": 5}]}', ChatState)
    grown = json.loads(dump(state.with_turn(Turn(run_id="r", input="q", answer="a")), nulls=False))
    assert grown["mine"] == [1]
    assert grown["turns"][0] == {"input": "hi", "answer": "hello", "stars": 5}
    assert grown["turns"][1] == {"run_id": "r", "input": "q", "answer": "a"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"turns": {}}',
        b'{"turns": [{"input": 1, "answer": "x"}]}',
        b'{"turns": [{"input": "x"}]}',
        b'{"turns": [{"input": "x", "answer": "y", "run_id": 7}]}',
        b'{"schema_version": "one"}',
        b'{"turns": ' + b"[" * 100_000,
        b'{"turns": [], "n": ' + b"9" * 5_000 + b"}",
    ],
)
def test_damaged_chat_state_is_an_input_error(raw):
    """Whatever is wrong with a state file, it is found, and is never a crash."""
    with pytest.raises(InputError):
        read_edited(raw, ChatState)


def test_chat_state_of_a_newer_rlmwatch_is_not_damage():
    """A state file with a newer schema is told apart from a damaged one, so that nobody moves it aside."""
    with pytest.raises(WorkspaceError, match="newer rlmwatch"):
        read_edited(b'{"schema_version": 2, "turns": "elsewhere"}', ChatState)


def test_turn_of_a_run_is_added_once_and_an_edit_of_it_stands():
    """Publishing a run again neither doubles its turn nor undoes what a person changed in it."""
    state = ChatState(turns=(Turn(run_id="r", input="q", answer="edited by hand"),))
    assert state.with_turn(Turn(run_id="r", input="q", answer="a")) is state


def test_late_turn_goes_to_its_place():
    """The turn of an earlier save that is published late stands before the later one."""
    state = ChatState(turns=(Turn(run_id="b", at="2026-01-02T00:00:00Z", input="q", answer="a"),))
    state = state.with_turn(Turn(run_id="a", at="2026-01-03T00:00:00Z", input="q", answer="a"), later={"b", "c"})
    state = state.with_turn(Turn(run_id="c", at="2026-01-01T00:00:00Z", input="q", answer="a"))
    assert [turn.run_id for turn in state.turns] == ["a", "b", "c"]


@given(st.text(alphabet=st.characters(codec=None), max_size=20))
def test_any_text_can_be_stored(text):
    """What a provider sends can be stored, half characters included, and sound text is stored as it is."""
    stored = well_formed(text)
    assert stored.encode().decode() == stored
    assert json.loads(dump(StatusFile(job_id="x", kind=Kind.CHAT, status="failed", answer=text)))["answer"] == stored


def test_halves_of_a_character_are_joined_and_lone_ones_marked():
    """A surrogate pair becomes its character; a lone half becomes U+FFFD."""
    assert well_formed("\ud83d\ude00 \ud800") == "😀 �"


def test_last_asked_is_the_last_turn_of_that_file():
    """Of two inputs with one state file each has its own last answer, whatever times say; turns by hand are none."""
    turns = [
        {"file": "a_input.txt", "at": "2099-01-01", "input_digest": "sha256:1", "save_number": 7},
        {"file": "a_input.txt", "at": "1970-01-01", "input_digest": "sha256:2", "answer": "x", "run_id": "r"},
        {"file": "a_input.md", "at": "2026-01-03", "input_digest": "sha256:3", "save_number": "8"},
        {"input": "by hand"},
        "no turn",
    ]
    raw = json.dumps({"turns": turns}).encode()
    assert last_asked(remarks(raw, file="a_input.txt")) == Remark("r", 0, "sha256:2", "x")
    assert last_asked(remarks(raw, file="a_input.md")) == Remark(None, 0, "sha256:3", "")
    assert last_asked(remarks(raw, file="A_Input.TXT")) == last_asked(remarks(raw, file="a_input.txt"))
    assert last_asked(remarks(raw, file="b_input.md")) is None
    assert [turn.number for turn in remarks(raw, file="a_input.txt")] == [7, 0, 0]


def test_a_name_that_is_written_otherwise_is_the_same_file():
    """A tool that writes names in another of Unicode's forms, or in other letter case, keeps their answers."""
    raw = json.dumps({"turns": [{"file": "Cafe\u0301_input.txt", "input_digest": "sha256:1"}]}).encode()
    assert last_asked(remarks(raw, file="caf\u00e9_input.txt")) is not None


@pytest.mark.parametrize("raw", [b"", b"{", b"{}", b'{"turns": 3}', b'{"turns": [{"input_digest": null}]}'])
def test_damage_says_nothing_of_what_was_asked(raw):
    """A damaged state file answers nothing; it is reported where it is loaded."""
    assert last_asked(remarks(raw, file="a_input.txt")) is None


def test_second_is_how_run_ids_begin():
    """A run's name can be compared with a time."""
    assert second("2026-11-23T09:15:02.123Z") == "20261123T091502"


def test_of_very_many_faults_only_the_number_is_told():
    """What a person is told of a broken document is no longer than a person reads."""
    raw = ('{"turns": [' + "{}," * 5_000 + "{}]}").encode()
    with pytest.raises(InputError, match=r"^10,002 values are missing or not as they should be$"):
        read_edited(raw, ChatState)
