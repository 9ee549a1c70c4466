"""What there is, is documented; what is documented, is there."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from rlmwatch import errors
from rlmwatch.cli.main import VERBS, build
from rlmwatch.contract.documents import JobStatus, StatusFile
from rlmwatch.contract.kinds import Kind
from rlmwatch.contract.memory import Turn
from rlmwatch.contract.options import RunOptions
from rlmwatch.daemon.credentials import KEYS
from rlmwatch.daemon.factories import handlers
from rlmwatch.runs.model import Outcome
from rlmwatch.settings.model import DEFAULTS, WORKSPACE_KEYS, Price, ProviderSettings, Settings
from rlmwatch.settings.providers import SHIPPED
from rlmwatch.settings.sources import ENV_OUTSIDE

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "rlmwatch"
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("*/README.md"))]
NONE = "–"  # noqa: RUF001 (as the tables write it)
"""How a table says that there is nothing."""

LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
EVENT = re.compile(r"[a-z_]+(?:\.[a-z_]+)?\Z")


def read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """Return what stands under the heading *title*, up to the next one of its depth or less."""
    found = re.search(rf"^(#+) {re.escape(title)}\n", text, re.MULTILINE)
    assert found, f"no heading {title!r}"
    end = re.search(rf"^#{{1,{len(found[1])}}} ", text[found.end() :], re.MULTILINE)
    return text[found.end() :][: end.start()] if end else text[found.end() :]


def tables(text: str) -> Iterator[list[dict[str, str]]]:
    """Yield the tables of a Markdown *text*, each as its rows by column."""
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        lines = [
            [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in block.splitlines()
        ]
        yield [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def table(text: str, column: str) -> dict[str, dict[str, str]]:
    """Return the first table that has *column*, its rows by what stands there, without backticks."""
    rows = next(rows for rows in tables(text) if rows and column in rows[0])
    return {row[column].strip("`"): row for row in rows}


def in_backticks(text: str) -> set[str]:
    """Return everything that stands in backticks, outside of code blocks."""
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)))


# The command line


def verbs() -> list[str]:
    """Return every verb, those below `model` too."""
    app = build()
    found = []
    for name in VERBS:
        below = [each for each in app[name] if not each.startswith("-")]
        found += [f"{name} {each}" for each in below] or [name]
    return found


def options(verb: str) -> set[str]:
    """Return the names of the options of *verb*."""
    app = build()
    for name in verb.split():
        app = app[name]
    return {name for argument in app.assemble_argument_collection() for name in argument.names if name.startswith("-")}


@pytest.mark.parametrize("verb", verbs())
def test_the_guide_has_every_verb_and_each_of_its_options(verb):
    """Every verb of the command line has a heading in the guide, and each option of it stands below that."""
    headings = re.findall(r"^### (.*)$", read("guide.md"), re.MULTILINE)
    heading = next((each for each in headings if re.search(rf"`(?:rlmwatch )?{verb}[ `]", each)), None)
    assert heading, f"docs/guide.md has no heading for `rlmwatch {verb}`"
    words = set(re.findall(r"-{1,2}[a-z][a-z-]*", section(read("guide.md"), heading)))
    shared = {"--workspace", "-w"}  # said once for every verb, above their headings
    assert shared <= in_backticks(section(read("guide.md"), "Every command"))
    assert options(verb) - words - shared == set(), f"docs/guide.md, {heading}"


def test_no_page_has_a_verb_that_there_is_not():
    """No page tells a person to call a verb, or an option of it, that does not exist."""
    there = {verb.split()[0] for verb in verbs()}
    strange = set()
    for page in PAGES:
        for verb, rest in re.findall(r"rlmwatch ([a-z]+)([^\n`]*)", code(page.read_text(encoding="utf-8"))):
            flags = re.findall(r"(?<=\s)--[a-z-]+", rest.split("#")[0])
            known = set().union(*(options(each) for each in verbs() if each.split()[0] == verb))
            strange |= {
                (page.name, verb, flag) for flag in flags or [""] if verb not in there or flag not in known | {""}
            }
    assert strange == set()


def code(text: str) -> str:
    """Return the code of a Markdown *text*, in blocks and in lines, one piece a line."""
    blocks = re.findall(r"^```.*?$(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *in_backticks(text)])


# Settings


def settings(table_of: type[BaseModel] = Settings, at: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, default) of every setting; a kind's table is one of them."""
    for name, field in table_of.model_fields.items():
        if name == "prices":
            yield from ((f"prices.<model>.{price}", None) for price in Price.model_fields)
        elif name == "providers":
            yield from (
                (f"providers.<name>.{key}", each.default) for key, each in ProviderSettings.model_fields.items()
            )
        elif name in list(Kind):
            yield name, "table"
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings(field.annotation, f"{name}.")
        else:
            yield f"{at}{name}", field.get_default(call_default_factory=True)


def written(value: Any) -> str:
    """Return *value* as a table of the documents writes it."""
    if value in (None, "table", {}):
        return NONE
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    return "`[]`" if value == () else f"`{value:g}`"


def test_every_setting_is_documented_with_its_place_and_default():
    """The table of settings has every setting and no other, where it may stand, and its true default."""
    rows = table(section(read("configuration.md"), "Every setting"), "setting")
    there = dict(settings())
    assert rows.keys() == there.keys()
    assert {key: row["default"] for key, row in rows.items()} == {key: written(value) for key, value in there.items()}
    places = {key: "workspace" if key in WORKSPACE_KEYS else "user" for key in there}
    assert {key: row["where"] for key, row in rows.items()} == places
    assert [key for key, row in rows.items() if not (row["type"] and row["meaning"])] == []


def test_every_shipped_provider_is_documented_with_its_address_and_variable():
    """The table of providers has each one that is known by name, with its true address, variable and model."""
    rows = table(section(read("configuration.md"), "Providers"), "provider")
    assert rows.keys() == SHIPPED.keys()
    for name, known in SHIPPED.items():
        assert rows[name]["address"].strip("`") == (known.base_url or "AZURE_OPENAI_ENDPOINT")
        assert rows[name]["its variable"].strip("`") == (known.key or NONE)
        assert known.model is None or rows[name]["model of runs that name none"].strip("`") == known.model


def test_every_key_of_the_front_matter_is_documented():
    """The table of front matter has every key and no other."""
    rows = table(section(read("configuration.md"), "Front matter"), "key")
    assert rows.keys() == RunOptions.model_fields.keys()


def test_the_defaults_of_every_kind_are_the_true_ones():
    """The table of defaults holds the number that applies where nobody says anything, for every kind."""
    found = [rows for rows in tables(section(read("configuration.md"), "Front matter")) if "exa" in rows[0]]
    said = {(row["key"].strip("`"), kind): row[kind] for row in found[0] for kind in Kind}
    true = {
        (key, kind): NONE if value is None else f"{value:g}"
        for kind, defaults in DEFAULTS.items()
        for key, value in defaults
        if any(getattr(each, key) is not None for each in DEFAULTS.values())
    }
    assert said == true


def variables() -> set[str]:
    """Return the environment variables that the package asks for by name, outside of the sandbox."""
    asked = set()
    for file in sorted(PACKAGE.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        asked |= set(re.findall(r'environ(?:\.get\(|\[)"([A-Z_]+)"', text))
        asked |= set(re.findall(r'"([A-Z_]+)" in os\.environ', text))
    return asked


def test_every_environment_variable_is_documented():
    """Each variable that rlmwatch reads stands in the settings page."""
    rows = " ".join(table(section(read("configuration.md"), "Environment"), "variable"))
    assert {each for each in variables() | ENV_OUTSIDE | set(KEYS) if each not in rows} == set()
    assert "CREDENTIALS_DIRECTORY" in variables(), "the search finds nothing any more"


# Errors, events, status files


def subclasses(of: type[Exception]) -> Iterator[type[Exception]]:
    for each in of.__subclasses__():
        if each.__module__ == errors.__name__:
            yield each
            yield from subclasses(each)


def test_every_error_is_documented_with_what_becomes_of_the_run():
    """The table of errors has every class but the mere branches, each beside the class that it belongs to."""
    rows = next(tables(section(read("operations.md"), "Errors")))
    said = {name.strip("` "): row["of"].strip("`") for row in rows for name in row["class"].split(",")}
    branches = {"UserError", "BudgetError", "ProviderError", "RunEnded"}
    there = {each.__name__: each for each in subclasses(errors.RlmwatchError)}
    assert said.keys() == there.keys() - branches
    assert [name for name, of in said.items() if not issubclass(there[name], getattr(errors, of))] == []


def events() -> set[tuple[str, str]]:
    """Return (event, level) of everything that the package logs."""
    found = set()
    for file in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        chosen = {
            target.id: {each.attr for each in ast.walk(node.value) if isinstance(each, ast.Attribute)} & LEVELS
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.IfExp)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
                continue
            match node.func:
                case ast.Attribute(value=ast.Name(id="log"), attr=level) if level in LEVELS:
                    levels = {level}
                case ast.Name(id=name):
                    levels = chosen.get(name, set())
                case _:
                    continue
            event = str(node.args[0].value)
            if EVENT.match(event):
                found |= {(event, "error" if level == "exception" else level) for level in levels}
    return found


def test_every_log_event_is_documented_with_its_level():
    """The tables of events have every event that can be logged and no other, with the levels it is logged at."""
    said = set()
    for rows in tables(section(read("operations.md"), "Events")):
        for row in rows:
            names, levels = in_backticks(row["event"]), row["level"].split(", ")
            ordered = [name.strip("` ") for name in row["event"].split(",")]
            assert names == set(ordered)
            pairs = zip(ordered, levels, strict=True) if len(ordered) == len(levels) else None
            said |= set(pairs) if pairs else {(name, level) for name in ordered for level in levels}
    assert said == events()
    assert ("watch.walked", "debug") in said, "the search misses a level that is chosen at run time"


def test_the_contract_has_every_outcome_and_field():
    """Every outcome, status and field of a status or state file stands in the file contract."""
    text = read("file-contract.md")
    words = set(re.findall(r"[a-z_]+", section(text, "5. The status file, `jobs/<run id>.json`")))
    assert {each.value for each in (*Outcome, *JobStatus)} - words == set()
    assert StatusFile.model_fields.keys() - words == set()
    assert Turn.model_fields.keys() - in_backticks(section(text, "3. What rlmwatch writes")) == set()


def test_the_contract_says_which_kinds_are_answered_today():
    """The table of kinds has each kind, and says yes exactly for those that this version answers."""
    rows = table(read("file-contract.md"), "kind")
    assert {kind: row["today"] == "yes" for kind, row in rows.items()} == {kind: kind in handlers() for kind in Kind}


def test_the_words_are_defined_once():
    """No word has two definitions, but those that say in brackets of what they speak."""
    words = re.findall(r"^\| \*\*(.*?)\*\*", read("concepts.md"), re.MULTILINE)
    assert len(words) == len(set(words))
    assert {"save", "run", "ledger", "conversation"} <= set(words)


def test_the_architecture_names_every_folder_and_no_file_that_is_not_there():
    """Each package stands in the tree of architecture.md, and each file that it names exists."""
    tree = section(read("architecture.md"), "The tree")
    folders = {folder.parent.name for folder in PACKAGE.glob("*/__init__.py")}
    assert {name for name in folders if f"      {name}/" not in tree} == set()
    there = {file.name for file in PACKAGE.rglob("*.py")}
    assert set(re.findall(r"[a-z_]+\.py\b", read("architecture.md"))) - there == set()


# Pages


def test_the_readme_begins_with_what_it_is_and_the_two_commands():
    """README begins with a title, one sentence, and the two commands that do all the set-up."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = re.match(r"# rlmwatch\n\n[^\n`#]+\.\n\n```\n(.*?)```\n", text, re.DOTALL)
    assert first
    assert first[1] == (
        "make run     # sets up .venv, fetches the small local model, answers sample_workspace and goes on watching\n"
        "make test    # sets up .venv, runs lint, types, import rules and all tests\n"
    )


def targets() -> dict[str, str]:
    """Return what each target of the Makefile that a person may call says of itself."""
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    phony = next(line for line in lines if line.startswith(".PHONY:")).split()[1:]
    heads = {line.partition(":")[0]: line.partition("## ")[2] for line in lines if re.match(r"[a-z]+:(?!=)", line)}
    return {name: heads[name] for name in phony}


def test_make_help_lists_every_command_with_what_it_does():
    """`make help` says of each command of the Makefile what it does."""
    help_text = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {"help", "run", "test", "unit", "coverage", "wheel"} <= targets().keys()
    for name, does in targets().items():
        assert does
        assert re.search(rf"^  make {name} +{re.escape(does)}$", help_text, re.MULTILINE), name


def test_no_page_has_a_make_command_that_there_is_not():
    """No page tells a person to call `make` with something that the Makefile has not."""
    said = {
        (page.name, name)
        for page in PAGES
        for name in re.findall(r"\bmake ([a-z]+)", code(page.read_text(encoding="utf-8")))
    }
    assert {name for _, name in said} >= {"run", "test", "unit"}
    assert {each for each in said if each[1] not in targets()} == set()


def test_contributing_names_nothing_that_is_not_there():
    """Each file, folder and name of the code that CONTRIBUTING.md sends a newcomer to is there."""
    named = in_backticks((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    files = {name for name in named if re.fullmatch(r"[\w./]+/[\w./]*|[\w./]+\.py|\.ci/run", name)}
    assert len(files) >= 20
    assert {name for name in files if not (ROOT / name).exists() and not (PACKAGE / name).exists()} == set()
    source = "\n".join(file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py"))
    words = {
        name.removesuffix("()") for name in named if re.fullmatch(r"[A-Z]\w+|[A-Z_]{4,}|[a-z]+_[a-z]+(\(\))?", name)
    }
    assert {"Kind", "DEFAULTS", "VERBS", "WORKSPACE_KEYS"} <= words
    assert {word for word in words if not re.search(rf"\b{word}\b", source)} == set()


def anchors(text: str) -> set[str]:
    """Return the anchors that a Markdown page has, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    """Each link of a page to a file of the project leads to a file and a heading that are there."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    assert broken == []
