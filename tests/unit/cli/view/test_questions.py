"""cli/view/questions.py: what becomes of statuses and events."""

from __future__ import annotations

import random

import pytest
from fakes.statuses import status

from rlmwatch.cli.view.questions import KEPT, NOTICES, Heading, ViewState
from rlmwatch.contract.documents import JobStatus, Progress


@pytest.fixture
def view() -> ViewState:
    return ViewState(Heading("~/questions"))


def test_a_row_moves_only_forward_whatever_the_order_of_threads(view):
    """An ended row stays; a later status is never undone by one that was said before it."""
    said = [
        status("a_input.txt", "pending", updated_at="1"),
        status("a_input.txt", "running", updated_at="2", attempt=1),
        status("a_input.txt", "running", updated_at="3", attempt=1, progress=Progress(step=1)),
        status("a_input.txt", "complete", updated_at="4", attempt=1, answer="yes"),
    ]
    for order in range(20):
        mixed = random.Random(order).sample(said, len(said))  # noqa: S311 (no secret)
        view.rows.clear()
        for each in mixed:
            view.take(each)
        assert view.rows["a_input.txt"].status is JobStatus.COMPLETE


def test_another_submission_under_the_same_id_is_another_question(view):
    """A job file whose id was used before begins anew."""
    view.take(status("jobs/a.json", "complete", job_id="a", answer="yes"))
    assert view.take(status("jobs/a.json", "pending", job_id="a", input_digest="sha256:2"))
    assert view.rows["a"].status is JobStatus.PENDING


def test_rows_keep_their_place(view):
    """A question that ends stays where it stood when it was asked."""
    for name in ("a", "b", "c"):
        view.take(status(name, "pending"))
    view.take(status("b", "complete", answer="yes"))
    assert list(view.rows) == ["a", "b", "c"]


def test_of_very_many_the_newest_are_kept(view):
    """A daemon that answers for months holds no more rows than a terminal can show; none that goes on is dropped."""
    view.take(status("waits", "pending"))
    for number in range(KEPT + 50):
        view.take(status(f"q{number}", "complete", answer="yes"))
    assert len(view.rows) == KEPT + 1
    assert {"waits", f"q{KEPT + 49}"} <= view.rows.keys()


def test_showing_the_same_statuses_again_changes_nothing(view):
    """What was read again and is the same is not drawn again; what is gone from the folder is gone."""
    both = [status("a", "running"), status("b", "pending")]
    assert view.show(both)
    assert not view.show(both)
    assert view.show(both[1:])
    assert list(view.rows) == ["b"]


def event(name: str, level: str = "warning", **facts: object) -> dict[str, object]:
    return {"event": name, "level": level, **facts}


def test_a_notice_goes_when_it_is_over(view):
    """The folder is missing, until it is back."""
    assert view.hear(event("watch.paused", "error"), at="12:00")
    assert [each.what for each in view.notices] == ["The folder is missing: waiting for it to come back"]
    assert view.hear(event("watch.resumed", "info"), at="12:01")
    assert view.notices == []


def test_the_same_notice_stands_once_and_only_the_newest_stay(view):
    """A warning that comes each minute is one notice; of many, the newest few."""
    for minute in range(3):
        view.hear(event("run.warning", path="a", what="x"), at=f"12:0{minute}")
    assert [(each.at, each.what) for each in view.notices] == [("12:02", "a: x")]
    for number in range(10):
        view.hear(event("run.warning", path="a", what=str(number)), at="12:10")
    assert [each.what for each in view.notices] == [f"a: {n}" for n in range(10 - NOTICES, 10)]


def test_what_goes_on_as_it_should_changes_nothing(view):
    """An event that says nothing to a person draws no frame."""
    assert not view.hear(event("save.admitted", "info", path="a"), at="12:00")
    assert not view.hear(event("run.failed", why="its row says it"), at="12:00")


def test_the_heading_says_what_the_daemon_does(view):
    """Standing by, on its way down, and simply answering."""
    view.hear(event("host.standby", answers="desk", cure="--take-over"), at="12:00")
    assert (view.heading.state, len(view.notices)) == ("Standing by", 1)
    view.hear(event("ready", "info"), at="12:00")
    assert (view.heading.state, view.notices) == ("", [])
    view.hear(event("stopping", "info", running=2, grace_s=5.0), at="12:00")
    assert view.heading.state == "Stopping: 2 running, which get 5 s to end"
    assert view.heading.ends == "Ctrl+C again ends at once"


def test_at_the_end_nothing_runs_any_more(view):
    """What a daemon worked on when it was stopped waits for the next one."""
    view.take(status("a", "running"))
    view.take(status("b", "complete", answer="yes"))
    view.end("Stopped")
    assert (view.works, view.heading.state) == (False, "Stopped")
    assert view.rows["a"].text == "it goes on at the next start"


def test_what_failed_makes_way_once_its_file_is_asked_again(view):
    """An error of an earlier save is no error any more; an answer stays."""
    view.take(status("a_input.txt", "complete", job_id="1", answer="yes"))
    view.take(status("a_input.txt", "failed", job_id="2", error="It broke"))
    assert list(view.rows) == ["1", "2"]
    view.take(status("a_input.txt", "pending", job_id="3"))
    assert list(view.rows) == ["1", "3"]
    assert view.show(
        [status("b", "failed", job_id="4"), status("b", "failed", job_id="5"), status("c", "cancelled", job_id="6")]
    )
    assert list(view.rows) == ["5", "6"]


def test_a_blank_file_is_said_until_it_is_asked_itself(view):
    """The save of another file does not take away why this one is not asked."""
    view.hear(event("save.skipped", "info", path="a_input.txt", reason="blank", cure="write"), at="12:00")
    view.hear(event("save.admitted", "info", path="b_input.txt"), at="12:01")
    assert [each.path for each in view.notices] == ["a_input.txt"]
    view.hear(event("save.admitted", "info", path="a_input.txt"), at="12:02")
    assert view.notices == []


def test_a_wrong_name_is_said_until_its_file_is_gone(view):
    """A file that is deleted or renamed takes its own line along, and no other."""
    for path in ("chat_imput.txt", "b/chat-input.txt"):
        view.hear(event("name.wrong", path=path, why="x", cure="y"), at="12:00")
    assert view.hear(event("name.gone", "info", path="chat_imput.txt"), at="12:01")
    assert [each.path for each in view.notices] == ["b/chat-input.txt"]


def test_the_same_id_in_two_folders_is_two_questions(view):
    """What is known of one folder's run moves no row of another's; each row names its folder."""
    for folder in ("~/one", "~/two"):
        view.take(status("a_input.txt", "running", job_id="1", attempt=1), folder)
    assert view.take(status("a_input.txt", "complete", job_id="1", answer="yes"), "~/two")
    view.take(status("", "failed", job_id="mine", error="It broke"), "~/two")
    assert [(row.name, row.status) for row in view.rows.values()] == [
        ("~/one/a_input.txt", "running"),
        ("~/two/a_input.txt", "complete"),
        ("~/two/jobs/mine.json", "failed"),
    ]
    view.end("Stopped")
    assert [row.status for row in view.rows.values()] == ["pending", "complete", "failed"]
