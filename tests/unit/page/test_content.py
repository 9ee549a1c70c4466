"""What stands on the page, from values alone."""

import base64
import hashlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.page.texts import Page, texts

from rlmwatch.ledger.overview import CallSummary
from rlmwatch.page import content
from rlmwatch.page.content import PageContent
from rlmwatch.page.model import CeilingView, ListedRun, RunView, WorkspaceView
from rlmwatch.page.shell import POLICY, SCRIPT, STYLE, document
from rlmwatch.page.trajectory import MAX_CHARS
from rlmwatch.runs.trajectory import StepRecord
from rlmwatch.usage import Usage

NOW = "2026-11-28T20:00:00.000Z"
ONE_DOLLAR = CeilingView(1.0, of_user=True)


def shown(found: PageContent) -> Page:
    return Page(document(found, lambda text: text, now=NOW).decode())


def a_run(**facts: object) -> ListedRun:
    usual = {
        "workspace": "notes-1a2b",
        "job_id": "20261128T195900Z-chat-7f3a9c",
        "path": "chat_input.txt",
        "kind": "chat",
        "question": "What is the capital of France?",
        "status": "complete",
        "created_at": "2026-11-28T19:59:00.000Z",
    }
    return ListedRun(**usual | facts)


def a_folder(*runs: ListedRun, **facts: object) -> WorkspaceView:
    going = tuple(run for run in runs if run.status in ("running", "pending", "held"))
    usual = {"name": "notes-1a2b", "title": "notes", "folder": "/home/ada/notes", "unfinished": going, "recent": runs}
    return WorkspaceView(**usual | facts)


optional = st.one_of(st.none(), texts)
listed = st.builds(
    ListedRun,
    workspace=texts,
    job_id=texts,
    path=texts,
    kind=texts,
    question=texts,
    status=st.one_of(st.sampled_from(("running", "held", "pending", "complete", "failed", "cancelled")), texts),
    created_at=st.one_of(st.just(NOW), texts),
    ended_at=st.one_of(st.just(NOW), optional),
    outcome=optional,
    partial=st.booleans(),
    why=texts,
    progress=texts,
    answer=texts,
)
folders = st.builds(
    WorkspaceView,
    name=texts,
    title=texts,
    folder=optional,
    answered_by=optional,
    problem=optional,
    unfinished=st.lists(listed, max_size=2).map(tuple),
    recent=st.lists(listed, max_size=2).map(tuple),
)
steps = st.builds(
    StepRecord, path=texts, step=st.just(1), attempt=st.just(1), code=optional, shown=texts, ended=texts, answer=texts
)
calls = st.builds(
    CallSummary,
    what=texts,
    model=texts,
    state=texts,
    started_at=texts,
    usage=st.just(Usage()),
    request=st.one_of(
        st.none(),
        st.dictionaries(texts, texts, max_size=2),
        st.fixed_dictionaries({"messages": st.lists(st.fixed_dictionaries({"role": texts, "content": texts}))}),
    ),
    reply=st.one_of(st.none(), st.fixed_dictionaries({"text": texts}), st.dictionaries(texts, texts, max_size=2)),
)
runs = st.builds(
    RunView,
    workspace=folders,
    run=listed,
    question=texts,
    answer=optional,
    error=optional,
    notes=st.lists(texts, max_size=2).map(tuple),
    model=optional,
    steps=st.lists(steps, max_size=2).map(tuple),
    calls=st.lists(calls, max_size=2).map(tuple),
)

_OURS = """
    html head meta title style body a header p time main h1 h2 h3 ul ol li strong div section span figure svg rect
    line desc figcaption details summary table caption thead tbody tr th td dl dt dd nav pre code footer script
"""
ELEMENTS = frozenset(_OURS.split())


def is_ours(page: Page) -> None:
    """Check that nothing stands there but elements of ours, which lead nowhere else."""
    assert {name for name, _ in page.elements} <= ELEMENTS
    names = {name for _, attributes in page.elements for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("style", "src", "srcset", "formaction")}
    assert all(re.match(r"(\./(\?|$)|#main$)", link["href"] or "") for link in page.all("a"))
    assert page.inside["script"] == SCRIPT
    assert page.inside["style"] == STYLE
    assert len(page.all("script")) == len(page.all("style")) == len(page.all("main")) == len(page.all("h1")) == 1
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


@settings(max_examples=60)
@given(views=st.lists(folders, max_size=2), run=runs)
def test_no_text_of_any_field_becomes_markup(views, run):
    """Whatever stands in whichever field, every page is made of our elements alone, and leads nowhere else."""
    is_ours(shown(content.overview(views, ONE_DOLLAR, now=NOW)))
    is_ours(shown(content.workspace(run.workspace, ONE_DOLLAR, now=NOW)))
    is_ours(shown(content.run(run, now=NOW)))


def test_style_and_script_of_a_document_are_those_of_its_policy():
    """The policy lets a browser use the style and the script of the document, and nothing else at all."""
    page = shown(content.nothing("no such thing"))
    for part, source in (("style-src", page.inside["style"]), ("script-src", page.inside["script"])):
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{part} 'sha256-{digest}'" in POLICY
    assert POLICY.startswith("default-src 'none'; ")
    assert "unsafe" not in POLICY
    assert "http" not in POLICY


def test_the_first_page_says_what_runs_what_waits_and_what_went_wrong():
    """Each run stands in the list of its status, with its question, why it waits, or why there is no answer."""
    going = a_run(
        job_id="r1", status="running", question="How far?", progress="step 3 of 8 · reading 41,200 characters"
    )
    waits = a_run(job_id="r2", status="held", path="b_input.txt", why="no key\nset one and reload")
    wrong = a_run(job_id="r3", status="failed", path="c_input.txt", outcome="timeout", why="no answer in 300 seconds")
    good = a_run(job_id="r4", path="d_input.txt", answer="Paris.", cost_usd=0.0003)
    view = a_folder(going, waits, wrong, good, answered_by="rlmwatch (process 7)", days={"2026-11-28": 0.25})
    page = shown(content.overview([view], ONE_DOLLAR, now=NOW))
    for words in (
        "step 3 of 8 · reading 41,200 characters",
        "no key",
        "set one and reload",
        "no answer in 300 seconds",
    ):
        assert words in page.text
    for words in ("Paris.", "$0.0003", "$0.25 of $1.00", "1 min ago", "/home/ada/notes", "rlmwatch (process 7)"):
        assert words in page.text
    assert {"running", "waiting", "errors", "recent", "spending", "folders"} <= {
        each.get("id") for each in page.all("section")
    }
    assert "./?workspace=notes-1a2b&run=r1" in [link["href"] for link in page.all("a")]


def test_what_was_asked_again_since_is_no_error_of_today():
    """A failure whose input has a later run stands among what has ended, not under the errors."""
    before = a_run(job_id="r1", status="failed", why="it broke", created_at="2026-11-28T18:00:00.000Z")
    view = a_folder(a_run(job_id="r2"), before)
    page = shown(content.overview([view], ONE_DOLLAR, now=NOW))
    assert "errors" not in {each.get("id") for each in page.all("section")}
    assert "it broke" in page.text


def test_a_run_is_shown_step_by_step():
    """Code, what it printed and what it cost stand under each step; of many steps the last ones are open."""
    records = [
        StepRecord("", n, 1, f"print({n})", f"shown {n}", "ok", usage=Usage(10, 2, 0.01, 1), cell_s=0.5)
        for n in range(1, 13)
    ]
    view = RunView(a_folder(), a_run(), "What?", answer="42", steps=tuple(records), steps_in_all=30)
    page = shown(content.run(view, now=NOW))
    assert "Steps (30)" in page.text
    assert "The first 18 are left out here" in page.text
    assert "print(12)" in page.text
    assert "shown 1" in page.text
    assert "1 call, 10 + 2 tokens · $0.01 · 0.50 s in code" in page.text
    assert [("open" in each) for each in page.all("details")] == [False] * 9 + [True] * 3


def test_texts_on_the_page_are_bounded():
    """Of a long text its beginning is shown, and how much more there is; of very many steps the last ones."""
    long = "x" * (MAX_CHARS + 1234)
    records = tuple(StepRecord("", n, 1, long, long, "ok") for n in range(200))
    view = RunView(a_folder(), a_run(), long, answer=long, steps=records, steps_in_all=200)
    found = document(content.run(view, now=NOW), lambda text: text, now=NOW)
    assert len(found) < 3_000_000
    assert b"1,234 more characters" in found


@pytest.mark.parametrize("days", [{}, {"2026-11-28": 0.0}, {"2026-11-27": 1.5, "2026-11-28": 0.00002}])
def test_the_chart_says_in_words_and_in_a_table_what_it_draws(days):
    """Each day has a bar with its sum; title, description and table say the same to who does not see them."""
    page = shown(content.overview([a_folder(days=days)], ONE_DOLLAR, now=NOW))
    if not any(days.values()):
        assert page.all("svg") == []
        assert "$0.00 in 30 days." in page.text
        return
    assert len(page.all("rect")) == 30
    assert page.all("svg")[0]["aria-labelledby"] == "chart-title chart-desc"
    assert "$1.50 in 30 days, most on 27 Nov: $1.50." in page.inside["desc"]
    assert "2026-11-27" in page.text
    assert "$0.00002" in page.text


def test_a_folder_has_its_own_page():
    """A folder's page has its path, its runs, its own spending, and what is wrong with its settings."""
    view = a_folder(a_run(), problem="rlmwatch.toml: line 3: no such setting", days={"2026-11-28": 0.5})
    page = shown(content.workspace(view, CeilingView(None, of_user=False), now=NOW))
    for words in (
        "/home/ada/notes",
        "no such setting",
        "What is the capital of France?",
        "$0.50 today",
        "does not run here",
    ):
        assert words in page.text
