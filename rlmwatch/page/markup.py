r"""
The one place where text becomes HTML. Pure.

A page is a tree of elements and texts; there is no way to put markup into it but `el`, whose names and attributes'
names are ours. `render` makes each text and each value of an attribute harmless, in this order:

1. secrets are taken out,
2. what has no shape, or turns the direction of reading, is written out (`\u202e`),
3. what HTML would read as markup is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from rlmwatch.printable import printable

_VOID = frozenset({"meta", "link", "br", "hr"})
_UNSPACED = {"for_": "for", "class_": "class"}

Redact = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Element:
    """An element; `name` and the names of its attributes are never text from elsewhere."""

    name: str
    children: tuple[Element | str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)


Child = Element | str | None | Iterable["Element | str | None"]


def el(name: str, /, *children: Child, **attributes: str | bool | None) -> Element:
    """
    Return an element.

    Args:
        name: Of the element.
        children: Elements and texts; None is left out, a list is laid flat.
        attributes: `class_` and `aria_label` become `class` and `aria-label`; True has no value, None and False are
            left out.
    """
    values = {
        _UNSPACED.get(key, key.replace("_", "-")): "" if value is True else value
        for key, value in attributes.items()
        if value is not None and value is not False
    }
    return Element(name, tuple(_flat(children)), values)


def _flat(children: Iterable[Child]) -> Iterable[Element | str]:
    for child in children:
        if isinstance(child, Element | str):
            yield child
        elif child is not None:
            yield from (each for each in child if each is not None)


def render(node: Element | str, redact: Redact) -> str:
    """Return *node* as HTML; *redact* takes secrets out of a text."""
    pieces: list[str] = []
    _render(node, redact, pieces)
    return "".join(pieces)


def _render(node: Element | str, redact: Redact, pieces: list[str]) -> None:
    if isinstance(node, str):
        pieces.append(_harmless(node, redact, lines=True))
        return
    attributes = "".join(
        f' {name}="{_harmless(value, redact, lines=False)}"' for name, value in node.attributes.items()
    )
    pieces.append(f"<{node.name}{attributes}>")
    if node.name in _VOID:
        return
    if node.name == "pre":
        pieces.append("\n")  # HTML drops a line break that comes first
    for child in node.children:
        _render(child, redact, pieces)
    pieces.append(f"</{node.name}>")


def _harmless(text: str, redact: Redact, *, lines: bool) -> str:
    return html.escape(printable(redact(text), lines=lines), quote=True)
