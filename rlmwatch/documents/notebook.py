"""Jupyter notebooks: each cell under its number, code fenced; of the outputs the texts, without pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from rlmwatch.documents.extract import Extract, UnreadableDocument, counted

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def read(raw: bytes) -> Extract:
    """
    Return the cells, each under the line `[cell N, kind]`, with the text of its outputs.

    Raises:
        UnreadableDocument: It is not a notebook.
    """
    try:
        book = json.loads(raw.decode("utf-8-sig"))
    except ValueError as error:
        raise UnreadableDocument(f"it is not a notebook, whose form is JSON ({error})") from None
    cells = _cells(book)
    language = _text(_at(_at(_at(book, "metadata"), "kernelspec"), "language")) or "python"
    pieces, pictures = [], 0
    for number, cell in enumerate(cells, start=1):
        kind = _text(_at(cell, "cell_type")) or "cell"
        source = _text(_at(cell, "source") or _at(cell, "input"))
        pieces.append(f"[cell {number}, {kind}]\n" + (f"```{language}\n{source}\n```" if kind == "code" else source))
        attached = _at(cell, "attachments")
        pictures += len(attached) if isinstance(attached, dict) else 0
        for output in _list(_at(cell, "outputs")):
            texts = [*_texts(output)]
            if texts:
                pieces.append(f"[output of cell {number}]\n" + "\n".join(texts))
            if left_out := _left_out(output, shown=bool(texts)):
                pictures += 1
                pieces.append(f"[output of cell {number} left out: {left_out}]")
    if not any(_text(_at(cell, "source") or _at(cell, "input")).strip() for cell in cells):
        return Extract("")
    return Extract("\n\n".join(pieces), (counted(pictures, "output that is not text"),) if pictures else ())


def _cells(book: object) -> list[object]:
    """Return the cells of *book*, also as version 3 of the format has them."""
    cells = _at(book, "cells")
    if cells is None:
        cells = [cell for sheet in _list(_at(book, "worksheets")) for cell in _list(_at(sheet, "cells"))]
    if not isinstance(cells, list) or not isinstance(book, dict) or not {"cells", "worksheets"} & book.keys():
        raise UnreadableDocument("it is JSON, but not a notebook: give it the ending .json")
    return cells


def _texts(output: object) -> Iterator[str]:
    """Yield the texts of *output*: what was printed, a value's plain form, an error."""
    if text := _text(_at(output, "text")) or _text(_at(_at(output, "data"), "text/plain")):
        yield text.rstrip("\n")
    if _at(output, "output_type") in {"error", "pyerr"}:
        yield f"{_text(_at(output, 'ename'))}: {_COLOURS.sub('', _text(_at(output, 'evalue')))}"


def _left_out(output: object, *, shown: bool) -> str:
    """Return the forms of *output* that are no text, as "image/png"; what is another form of a shown text is not."""
    data = _at(output, "data")
    forms = [form for form in (data if isinstance(data, dict) else ()) if form != "text/plain"]
    old = [form for form in ("png", "jpeg", "svg") if _at(output, form) is not None]
    return ", ".join(sorted(form for form in forms + old if not shown or form.startswith("image/") or form in old))


def _at(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, dict) else None


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    """Return a text of a notebook, which may be a list of its lines."""
    if isinstance(value, list):
        return "".join(each for each in value if isinstance(each, str))
    return value if isinstance(value, str) else ""
