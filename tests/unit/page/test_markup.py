"""Texts become HTML in one place, and never markup."""

from hypothesis import given
from unit.page.texts import Page, texts

from rlmwatch.page.markup import el, render
from rlmwatch.printable import printable


def same(text: str) -> str:
    return text


@given(text=texts, value=texts)
def test_no_text_ends_an_element_or_an_attribute(text, value):
    """Whatever a text holds, it is read back as that text, in that place, and as nothing else."""
    page = Page(render(el("div", el("p", text, title=value), el("pre", text)), same))
    assert [name for name, _ in page.elements] == ["div", "p", "pre"]
    assert page.all("p") == [{"title": printable(value)}]
    shown = printable(text, lines=True)
    assert page.inside.get("p", "") == shown
    assert page.inside["pre"] == f"\n{shown}"  # a browser drops the first line break of a `pre`


def test_secrets_are_taken_out_of_texts_and_attributes():
    """A secret stands nowhere in what is sent, also where its letters would be escaped."""
    secret = 'k<e>y&"7f3a'
    out = render(el("p", f"the key {secret}!", title=secret), lambda text: text.replace(secret, "[secret]"))
    assert out == '<p title="[secret]">the key [secret]!</p>'


def test_what_turns_the_direction_of_reading_is_written_out():
    """A right-to-left override and a control character are shown as escapes; line breaks stay."""
    assert render(el("p", "a\u202eb\x1b\nc"), same) == "<p>a\\u202eb\\x1b\nc</p>"


def test_attributes_that_are_off_are_left_out():
    """True has no value, None and False are not there; lists are laid flat."""
    node = el("details", ["a", None, el("br")], None, open=True, id=None, hidden=False, class_="c", aria_label="l")
    assert render(node, same) == '<details open="" class="c" aria-label="l">a<br></details>'
