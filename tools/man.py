"""
Man pages from the commands' own help: `rlmwatch.1`, and `rlmwatch-VERB.1` for each verb.

    python tools/man.py [FOLDER]        # default: dist/man
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from cyclopts import App
from docstring_parser import parse

from rlmwatch.cli.main import VERBS, build
from rlmwatch.version import __version__

FOLDER = Path("dist/man")


def escaped(text: str) -> str:
    """Return *text* as roff prints it: no letter at the start of a line, and no backslash, is a command."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in text.splitlines())


def verbs(app: App) -> Iterator[tuple[str, App]]:
    """Yield each verb with its command, those below another (`model fetch`) too."""
    for name in VERBS:
        below = [each for each in app[name] if not each.startswith("-")]
        for each in below:
            yield f"{name} {each}", app[name][each]
        if not below:
            yield name, app[name]


def head(page: str, what: str) -> str:
    """Return the beginning of a page."""
    return (
        f'.TH "{escaped(page.upper())}" 1 "" "rlmwatch {__version__}" "rlmwatch"\n'
        f".SH NAME\n{escaped(page)} \\- {escaped(what)}\n"
    )


def page_of(verb: str, command: App) -> str:
    """Return the page of one verb."""
    function = command.default_command
    said = parse(inspect.getdoc(function) or "")
    told = {each.arg_name: " ".join((each.description or "").split()) for each in said.params}
    usage, options = [f".B rlmwatch {escaped(verb)}"], []
    for argument in command.assemble_argument_collection():
        names = [name for name in argument.names if name.startswith("-")]
        shown = ", ".join(f"\\fB{escaped(name)}\\fR" for name in names)
        value = argument.field_info.name.upper()
        if not names:
            usage.append(f"[\\fI{escaped(value)}\\fR]")
            shown = f"\\fI{escaped(value)}\\fR"
        elif argument.hint is not bool:
            shown += f" \\fI{escaped(value)}\\fR"
        options.append(f".TP\n{shown}\n{escaped(told.get(argument.field_info.name, ''))}")
    usage += ["[\\fIoptions\\fR]"]
    parts = [
        head(f"rlmwatch-{verb.replace(' ', '-')}", (said.short_description or "").rstrip(".")),
        f".SH SYNOPSIS\n{' '.join(usage)}",
        f".SH DESCRIPTION\n{escaped(said.short_description or '')}",
    ]
    parts += [f".PP\n{escaped(paragraph)}" for paragraph in (said.long_description or "").split("\n\n") if paragraph]
    parts += [".SH OPTIONS", *options] if options else []
    return "\n".join([*parts, ".SH SEE ALSO", ".BR rlmwatch (1)", ""])


def overview(app: App) -> str:
    """Return the page of the whole program."""
    listed = "\n".join(
        f".TP\n.BR rlmwatch\\-{escaped(verb.replace(' ', '-'))} (1)\n"
        f"{escaped(parse(inspect.getdoc(command.default_command) or '').short_description or '')}"
        for verb, command in verbs(app)
    )
    parts = [
        head("rlmwatch", "a folder that answers"),
        f".SH SYNOPSIS\n.B rlmwatch\n\\fIverb\\fR [\\fIoptions\\fR]\n.SH DESCRIPTION\n{escaped(str(app.help))}\n",
        f".SH VERBS\n{listed}\n",
        ".SH OPTIONS\n.TP\n.B \\-\\-help\nHelp on the program or a verb.\n.TP\n.B \\-\\-version\nThe version.\n",
        ".TP\n.B \\-\\-install\\-completion\nLet your shell complete verbs and options.\n",
        ".SH EXIT STATUS\n0 done; 1 it failed; 2 called wrongly, a wrong setting, or the folder is held by another.\n",
    ]
    return "".join(parts)


def write(folder: Path) -> list[Path]:
    """Write every page into *folder*, and return them."""
    app = build()
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"rlmwatch.1": overview(app)}
    pages |= {f"rlmwatch-{verb.replace(' ', '-')}.1": page_of(verb, command) for verb, command in verbs(app)}
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in pages]


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
