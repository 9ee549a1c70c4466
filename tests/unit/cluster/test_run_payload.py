"""What travels between a daemon and a worker without the folder."""

from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmwatch.cluster.run_payload import RunPayload, live_from_json, live_to_json, pack, unpack
from rlmwatch.contract.documents import Progress, StatusCaps, UsageSoFar
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.memory import ChatState, Turn
from rlmwatch.contract.options import RunOptions
from rlmwatch.contract.session import SessionState
from rlmwatch.errors import InputError, RlmwatchError
from rlmwatch.runs.attached import Attached, Image
from rlmwatch.settings.model import CeilingSettings, Settings
from rlmwatch.workspace.context import Context, MaterialFile
from rlmwatch.workspace.memory import Remembered
from rlmwatch.workspace.status import Live

TEXTS = st.text(st.characters(), max_size=40)


@given(st.none() | TEXTS | st.dictionaries(TEXTS, TEXTS, max_size=4), st.lists(TEXTS, max_size=3), TEXTS)
def test_material_and_memory_arrive_as_they_were(value, notes, text):
    """Whatever characters a person's files hold, NULs and halves of pairs included, the worker gets the same."""
    state = ChatState(conversation="c", turns=(Turn(input=text or "q", answer=text or "a"),))
    context = Context(value, tuple(notes), "sha256:0", tuple(MaterialFile(note, "txt", 3) for note in notes))
    payload = RunPayload({"tokens": 7}, Remembered(state, text), SessionState(), context)
    assert unpack(pack(payload)) == payload


def test_what_could_not_be_read_ends_the_run_in_the_daemons_words():
    """A problem with memory or material is told where the handler asks for it."""
    payload = unpack(pack(RunPayload(problem="context: a.txt: no such file")))
    with pytest.raises(InputError, match="no such file"):
        payload.checked()


def test_another_versions_payload_is_refused():
    """A daemon and a worker of different versions do not guess what the other means."""
    other = zlib.compress(json.dumps({"version": 99}).encode())
    with pytest.raises(RlmwatchError, match="another version"):
        unpack(other)


def test_defaults_do_not_travel_as_what_a_person_set():
    """A default cap stays a default on the worker; one that was set, or a ceiling that lowers it, goes with the run."""
    plain = Settings()
    assert plain.said_for(Kind.RESEARCH, RunOptions()).max_cost_usd is None
    assert plain.said_for(Kind.CHAT, RunOptions(tokens=7)).tokens == 7
    assert plain.said_for(Kind.CHAT, RunOptions(max_cost_usd=0.2)).max_cost_usd == 0.2
    low = Settings(ceilings=CeilingSettings(max_cost_usd_per_run=0.01))
    for kind in Kind:
        said = low.said_for(kind, RunOptions(max_cost_usd=0.5))
        assert said.max_cost_usd == 0.01
        assert plain.options_for(kind, low.said_for(kind, RunOptions())).max_cost_usd == 0.01
    named = Settings(model="big", research=RunOptions(tokens=9))
    assert named.said_for(Kind.RESEARCH, RunOptions()) == RunOptions(model="big", tokens=9)


@given(
    st.none() | st.builds(Progress, step=st.integers(0, 99), max_steps=st.integers(1, 99), note=TEXTS),
    st.builds(UsageSoFar, output_tokens=st.integers(0, 10**9), cost_usd=st.none() | st.floats(0, 1e3)),
    st.builds(StatusCaps, max_cost_usd=st.none() | st.floats(0, 1e3), max_tokens=st.none() | st.integers(1, 10**9)),
    st.none() | TEXTS,
)
def test_what_a_worker_reports_arrives_as_it_was(progress, usage, caps, model):
    """Progress, usage, caps and model reach the status file unchanged."""
    live = Live(progress, usage, caps, model)
    assert live_from_json(json.loads(live_to_json(live))) == live


@pytest.mark.parametrize(
    "stored", [{}, {"version": 99, "progress": "?"}, {"progress": None, "usage": {}, "model": "m"}]
)
def test_what_another_version_reports_is_not_shown(stored):
    """A daemon shows nothing of a report that it may misread; the run goes on."""
    assert live_from_json(stored) is None


def test_what_a_question_mentions_arrives_with_its_images():
    """A worker on another machine sends the same texts and the same bytes of images."""
    image = Image("a.png", "sha256:1", "image/png", 3, 2, b"\x89\x00\xff")
    payload = RunPayload(attached=Attached({"a.md": "text"}, (image,), {"a.md": "sha256:2", "a.png": "sha256:1"}))
    arrived = unpack(pack(payload)).attached
    assert arrived == payload.attached
    assert arrived.images[0].data == image.data
