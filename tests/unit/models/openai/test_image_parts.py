"""models/openai/dialect.py: images as the protocol's content parts."""

from __future__ import annotations

from rlmwatch.models.base import Message, Request
from rlmwatch.models.listing import sees_in
from rlmwatch.models.openai.dialect import Dialect
from rlmwatch.runs.attached import Image

IMAGE = Image("a.png", "sha256:1", "image/png", 3, 2, b"\x89PNG")
REQUEST = Request("m", (Message("system", "be brief"), Message("user", "what?", (IMAGE,))), 7)


def test_images_are_parts_after_the_text_and_other_messages_stay_text():
    """A message with images is a list of its text and data URLs; one without is a text, as every server takes it."""
    system, user = Dialect("max_tokens").body(REQUEST)["messages"]
    assert system["content"] == "be brief"
    assert user["content"] == [
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
    ]


def test_a_model_without_system_messages_is_shown_the_image_too():
    """Where the system's text moves into the question, the question's images stay with it."""
    (user,) = Dialect("max_tokens", system=False).body(REQUEST)["messages"]
    assert user["content"][0]["text"] == "be brief\n\nwhat?"
    assert user["content"][1]["type"] == "image_url"


def test_a_list_of_models_may_say_who_sees():
    """OpenRouter lists what goes into a model; what is not such a list says nothing."""
    assert sees_in({"input_modalities": ["text", "image"]}) is True
    assert sees_in({"input_modalities": ["text"]}) is False
    assert [sees_in(odd) for odd in (None, {}, {"input_modalities": "image"}, 3)] == [None] * 4
