"""What `rlmwatch doctor` says of the machine: the sandbox, layer by layer, and the small local model."""

from __future__ import annotations

from rlmwatch.cli.report import Line
from rlmwatch.models.llamacpp import weights
from rlmwatch.sandbox.base import Report

HELD = "until then research, exa, and jobs with data are held; chats need no sandbox"


def sandbox_lines(report: Report) -> list[Line]:
    """
    Return what is told of the sandbox, layer by layer, as *report* found it by trying.

    A layer that this machine lacks and a session goes without is a warning. Where one is refused there is no sandbox:
    that is wrong, and so is a report without a line.
    """
    lines = []
    for layer in report.lines:
        name = f"sandbox, {layer.layer}"
        if layer.state == "on":
            lines.append(Line("ok", name, layer.text))
        elif layer.state == "refused":
            lines.append(Line("wrong", name, layer.text, f"{layer.cure} {HELD}".strip()))
        else:
            lines.append(Line("warning" if layer.state == "missing" else "ok", name, layer.text, layer.cure))
    return lines or [Line("wrong", "sandbox", "the probe said nothing", HELD)]


def weights_line() -> Line:
    """Return whether the small model was fetched."""
    found = weights.where()
    if found is None:
        return Line("ok", "local model", "not fetched; `rlmwatch model fetch` brings it (98 MB)")
    return Line("ok", "local model", str(found))
