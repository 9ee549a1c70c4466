"""What an attempt may show of what earlier ones paid."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from rlmwatch.engine.call_codec import plain
from rlmwatch.engine.replay import Replay, between, booked
from rlmwatch.models.base import Message, Request
from rlmwatch.runs.attached import Image
from rlmwatch.runs.model import CallState, JournalEntry, PaidCall, Usage

DONE, LOST, RELEASED, INTENT = CallState.DONE, CallState.LOST, CallState.RELEASED, CallState.INTENT


def entry(key, state=DONE, tokens=10, attempt=1):
    usage = None if state in (INTENT, RELEASED) else Usage(1, tokens, tokens * 0.5, 1)
    return JournalEntry(PaidCall(key, "llm", "m", {}, 100, 50.0), state, attempt, "now", usage=usage)


def test_1_a_reply_is_visible_once_it_was_handed_out():
    """What a reply cost is shown when the replay has come to it, not before."""
    replay = Replay.of([entry("/1/a/1"), entry("/2/b/1")])
    assert replay.visible == Usage()
    assert replay.take("/1/a/1").call.key == "/1/a/1"
    assert replay.visible.output_tokens == 10
    assert replay.take("/1/a/1") is None
    assert replay.take("/9/z/1") is None
    assert replay.visible.output_tokens == 10


def test_2_a_lost_try_is_visible_with_the_reply_of_its_next_try():
    """A call that was cut off and tried again in its own attempt is shown together with its reply."""
    replay = Replay.of([entry("/1/a/1"), entry("/2/b/1", LOST, 7), entry("/2/b/1")])
    replay.take("/1/a/1")
    assert replay.visible.output_tokens == 10
    replay.take("/2/b/1")
    assert replay.visible.output_tokens == 27


def test_3_a_call_in_flight_at_a_kill_is_visible_once_all_before_it_was_replayed():
    """What was lost at a kill is shown where the attempt after it saw it first."""
    replay = Replay.of([entry("/1/a/1"), entry("/1/b/1"), entry("/2/c/1", LOST, 7), entry("/2/d/1", attempt=2)])
    replay.take("/1/b/1")
    assert replay.visible.output_tokens == 10
    replay.take("/1/a/1")
    assert replay.visible.output_tokens == 27
    replay.take("/2/d/1")
    assert replay.visible.output_tokens == 37


def test_3_a_call_in_flight_counts_as_it_was_reserved():
    """An intent without a reply is shown as its whole reservation."""
    assert Replay.of([entry("/1/a/1", INTENT)]).visible == Usage(0, 100, 50.0, 1)


def test_3_a_lost_call_that_a_later_attempt_made_again_was_visible_before():
    """A later attempt's reply under the same key does not delay what that attempt saw before it."""
    replay = Replay.of([entry("/1/a/1", LOST, 7), entry("/1/a/1", attempt=2)])
    assert replay.visible.output_tokens == 7


def test_4_a_released_call_is_never_visible():
    """A call that the provider refused before any work costs nothing and is shown nowhere."""
    assert Replay.of([entry("/1/a/1", RELEASED)]).visible == Usage()


def test_what_an_attempt_makes_itself_is_visible_at_once():
    """A fresh call is shown as soon as it is booked."""
    replay = Replay()
    replay.made(Usage(1, 5, None, 1))
    assert replay.visible == Usage(1, 5, None, 1)


def test_an_engine_knows_whether_replies_of_its_own_wait():
    """Replies wait for the engine that asked, and for those above it, not for its neighbours."""
    replay = Replay.of([entry(".1-ab-1/2/x/1")])
    assert replay.waits_for("")
    assert replay.waits_for(".1-ab-1")
    assert not replay.waits_for(".1-ab-12")
    assert not replay.waits_for(".1-cd-1")
    assert not replay.waits_for(".1-ab-1.2-ef-1")


def test_passing_over_a_cell_hands_out_its_calls_and_those_of_its_engines():
    """A cell that is not run again counts as replayed, with all that it had called."""
    keys = ["/2/a/1", ".2-ab-1/1/x/1", ".2-ab-1.1-cd-1/1/y/1", "/20/a/1", ".20-ab-1/1/x/1", "/3/a/1"]
    replay = Replay.of([entry(key) for key in keys])
    replay.pass_over("", 2)
    assert replay.visible.output_tokens == 30
    assert [key for key in keys if replay.take(key)] == keys[3:]


def test_after_a_divergence_everything_is_visible():
    """A replay that went another way shows all that was paid, once."""
    rows = [entry("/1/a/1"), entry("/2/b/1", LOST, 7), entry("/2/b/1"), entry("/3/c/1", LOST, 5)]
    replay = Replay.of(rows)
    replay.take("/1/a/1")
    replay.diverge()
    replay.diverge()
    assert replay.diverged
    assert replay.visible == sum((booked(row) for row in rows), Usage())
    replay.take("/2/b/1")
    assert replay.visible.output_tokens == 32


def test_what_was_used_in_between():
    """The use of a step is the difference of what was visible; an unknown price stays unknown."""
    assert between(Usage(1, 2, None, 1), Usage(4, 6, None, 3)) == Usage(3, 4, None, 2)
    assert between(Usage(1, 2, None, 1), Usage(4, 6, 0.5, 3, 1)) == Usage(3, 4, 0.5, 2, 1)


def test_a_search_in_flight_counts_as_a_search():
    """A search that was under way at a kill counts as one search at its highest price, and as no model call."""
    call = PaidCall("/1/a/1", "search", "exa", {}, 0, 0.007)
    assert booked(JournalEntry(call, INTENT, 1, "now")) == Usage(cost_usd=0.007, searches=1)


def always(request):
    """What every request has; images and a format of the answer stand in a name only where there are some."""
    whole = asdict(request)
    assert whole.pop("answer_format") is None
    assert [message.pop("images") for message in whole["messages"]] == [()] * len(whole["messages"])
    return whole


def test_the_name_of_a_call_is_made_of_the_whole_request():
    """Whatever a request has counts for its name in the journal, so that a replay tells requests apart."""
    request = Request("m", (Message("system", "a"), Message("user", "b")), 7, 0.5, 3)
    assert json.dumps(plain(request)) == json.dumps(always(request))  # as earlier versions have it in their journals
    wanted = replace(request, answer_format={"schema": {"type": "object"}})
    assert json.dumps(plain(wanted)) == json.dumps({**always(request), "answer_format": wanted.answer_format})


def test_an_image_counts_for_the_name_of_a_call_by_its_digest_alone():
    """The journal keeps what an image is, and not its bytes."""
    image = Image("a.png", "sha256:1", "image/png", 3, 2, b"bytes")
    named = plain(Request("m", (Message("user", "b", (image,)),), 7))
    assert named["messages"][0]["images"] == [
        {"name": "a.png", "digest": "sha256:1", "media_type": "image/png", "width": 3, "height": 2}
    ]
