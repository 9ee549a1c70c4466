"""Research without an account, by a SearXNG, and in the folder's own notes, with the real daemon."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers.exa_server import ExaServer, result
from servers.openai_server import OpenAIServer
from servers.searxng_server import NO_JSON, Fault, Hits, SearxngServer, hit
from system.harness import Home
from system.researching import Coder, roots

CRASH_CHILD = Path(__file__).with_name("crash_child.py")
LANDING = hit("https://moon.example/landing", "Moon", "Men first walked on the Moon on 20 July 1969.")
ASK = """
pages = research("first moon landing")
print(pages[0].n, pages[0].title, pages[0].excerpt)
answer("On 20 July 1969 [1].")
"""


@pytest.fixture
def coder() -> Coder:
    """What the model writes."""
    return Coder()


@pytest.fixture
def provider(coder: Coder) -> Iterator[OpenAIServer]:
    """A provider whose model is *coder*."""
    with OpenAIServer(coder) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, provider: OpenAIServer) -> Home:
    """A person's home, with a key for the provider and none for a search."""
    return Home(tmp_path / "home", provider)


def note(home: Home, path: str, text: str) -> None:
    """Put a note there that is at rest."""
    home.save(path, text)
    os.utime(home.workspace / path, (1_600_000_000, 1_600_000_000))


def test_a_whole_run_by_searxng(home: Home, coder: Coder):
    """With an address of a SearXNG a saved exa_input.txt is answered with sources; it costs nothing and is counted."""
    coder.on("moon", ASK)
    with SearxngServer([Hits([LANDING], [["google", "CAPTCHA"]])]) as searxng:
        home.set(f'searxng_url = "{searxng.url}"\n')
        with home.daemon() as daemon:
            home.save("exa_input.txt", "When did men first walk on the moon?")
            daemon.answered("exa_output.txt")
        assert searxng.calls[0].body["q"] == "first moon landing"
    assert home.read("exa_output.txt") == (
        "On 20 July 1969 [1].\n\nSources:\n[1] Moon \u2013 https://moon.example/landing\n"
    )
    (page,) = home.state("exa_sources.json")["pages"]
    assert (page["n"], page["url"], page["excerpt"]) == (1, "https://moon.example/landing", True)
    assert home.state("exa_sources.json")["claims"][0]["quote"] == LANDING["content"]
    status = home.status_of("exa_input.txt")
    assert (status["usage"]["searches"], status["outcome"]) == (1, "success")
    assert status["usage"]["cost_usd"] == pytest.approx(0, abs=0.001)
    assert any("excerpts" in text for text in status["notes"])
    assert any("google (CAPTCHA)" in text for text in status["notes"])


def test_searches_by_searxng_count_against_max_searches(home: Home, coder: Coder):
    """A search that costs nothing is one all the same: the second of a run that may make one is refused."""
    coder.on(
        "Two",
        "research('one')\ntry:\n    research('two')\nexcept Error as error:\n    answer(f'refused: {error}')",
    )
    with SearxngServer([[LANDING]]) as searxng:
        home.set(f'searxng_url = "{searxng.url}"\n')
        with home.daemon() as daemon:
            home.save("exa_input.txt", "---\nmax_searches: 1\n---\nTwo")
            daemon.answered("exa_output.txt")
        assert searxng.count == 1
    assert home.read("exa_output.txt").startswith("refused: the budget is spent")


def test_where_json_is_off_the_question_waits_for_the_setting(home: Home, coder: Coder):
    """The error says which setting of SearXNG to change; after that, and a reload, the question is answered."""
    coder.on("moon", ASK)
    is_on = threading.Event()
    with SearxngServer(lambda _asked: [LANDING] if is_on.is_set() else NO_JSON) as searxng:
        home.set(f'searxng_url = "{searxng.url}"\n')
        with home.daemon() as daemon:
            home.save("exa_input.txt", "When did men first walk on the moon?")
            home.appears("exa_error.txt", "settings.yml", "json")
            assert not home.exists("exa_output.txt")
            doctor = home.cli("doctor", str(home.workspace), "--json")
            (line,) = [line for line in json.loads(doctor.stdout) if line["what"] == "web search"]
            assert (line["mark"], "settings.yml" in line["todo"]) == ("wrong", True)
            is_on.set()
            assert home.cli("reload", str(home.workspace)).returncode == 0
            daemon.answered("exa_output.txt")
    assert not home.exists("exa_error.txt")


def test_exa_goes_before_and_without_either_the_error_names_both(home: Home, coder: Coder):
    """Where Exa's key is there, Exa is asked; where neither is, the person reads of both ways."""
    coder.on("moon", 'print(research("moon"))\nanswer("On 20 July 1969 [1].")')
    with home.daemon():
        home.save("exa_input.txt", "When did men first walk on the moon?")
        told = home.appears("exa_error.txt", "EXA_API_KEY")
        assert "searxng_url" in told
    page = result("https://moon.example/", "Moon", "On 20 July 1969.")
    with SearxngServer([[LANDING]]) as searxng, ExaServer([[page]]) as exa:
        home.set(f'searxng_url = "{searxng.url}"\n')
        home.variables |= {"EXA_API_KEY": "made-up-exa-key-1", "EXA_BASE_URL": exa.url}
        with home.daemon() as daemon:
            daemon.answered("exa_output.txt")
        assert (exa.count, searxng.count) == (1, 0)


@pytest.mark.parametrize(("exa", "said"), [(True, "Exa"), (False, "SearXNG")])
def test_doctor_and_status_say_who_searches(home: Home, exa: bool, said: str):
    """A person sees who searches the web, and at which address."""
    with SearxngServer([[LANDING]]) as searxng:
        home.set(f'searxng_url = "{searxng.url}"\n')
        if exa:
            home.variables["EXA_API_KEY"] = "made-up-exa-key-1"
        doctor = json.loads(home.cli("doctor", str(home.workspace), "--json").stdout)
        status = json.loads(home.cli("status", "--workspace", str(home.workspace), "--json").stdout)
        (line,) = [line for line in doctor if line["what"] == "web search"]
        assert line["mark"] == "ok"
        assert line["found"].startswith(said)
        assert status["web_search"].startswith(said)
        assert all("q" not in call.body for call in searxng.calls)


def test_a_workspace_cannot_name_who_searches(home: Home):
    """`searxng_url` belongs to the user: in a folder's own file, which may come from elsewhere, it is an error."""
    home.save("rlmwatch.toml", 'searxng_url = "http://127.0.0.1:9"\n')
    done = home.cli("run", "--once", str(home.workspace))
    assert done.returncode == 2
    assert "searxng_url: a workspace may not set this" in done.stderr


def test_a_redirect_to_a_private_address_is_not_followed(home: Home, coder: Coder):
    """Wherever SearXNG sends, nobody else is asked, and the person reads where it wanted to."""
    coder.on("moon", ASK)
    with SearxngServer([[LANDING]]) as private:
        to_private = Fault.status(302, "", {"Location": f"{private.url}/search?q=x&format=json"})
        with SearxngServer([to_private]) as searxng:
            home.set(f'searxng_url = "{searxng.url}"\n')
            with home.daemon():
                home.save("exa_input.txt", "When did men first walk on the moon?")
                home.appears("exa_error.txt", "Redirects are not followed")
        assert private.count == 0


FIND_BEES = """
found = files("Where are the bees?")
for page in found: print(page.n, page.path, page.title)
answer("In the south meadow [1].")
"""


def test_a_whole_run_in_the_folders_notes(home: Home, coder: Coder, provider: OpenAIServer):
    """`tools: files`: the model finds a note, the answer cites it, and the sources name its path and passage."""
    note(home, "garden/bees.md", "# Bees\n\nIn May we moved the bees to the south meadow.")
    note(home, "shopping.txt", "milk, bread")
    coder.on("bees", FIND_BEES)
    with home.daemon() as daemon:
        home.save("plan_job_input.txt", "---\ntools: files\n---\nWhere are the bees?")
        daemon.answered("plan_job_output.txt")
    assert home.read("plan_job_output.txt") == "In the south meadow [1].\n\nSources:\n[1] Bees \u2013 garden/bees.md\n"
    sources = home.state("plan_job_sources.json")
    (page,) = sources["pages"]
    assert (page["n"], page["path"], page["query"], "url" in page) == (
        1,
        "garden/bees.md",
        "Where are the bees?",
        False,
    )
    assert sources["claims"][0]["quote"] == "In May we moved the bees to the south meadow."
    status = home.status_of("plan_job_input.txt")
    assert (status["outcome"], status["notes"], status["usage"]["searches"]) == ("success", [], 1)
    system = roots(provider)[0]["messages"][0]["content"]
    assert "files(query" in system
    assert "research(query" not in system


def test_notes_and_web_are_numbered_in_one_row(home: Home, coder: Coder):
    """`tools: [research, files]`: sources of both kinds have numbers of one row, and are listed together."""
    note(home, "moon.md", "Grandfather saw the landing on television.")
    coder.on("moon", 'files("landing")\nresearch("moon")\nanswer("He saw it [1]; it was on 20 July 1969 [2].")')
    with SearxngServer([[LANDING]]) as searxng:
        home.set(f'searxng_url = "{searxng.url}"\n')
        with home.daemon() as daemon:
            home.save("a_research_prompt.txt", "---\ntools: [research, files]\n---\nThe moon?")
            daemon.answered("a_research_output.txt")
    assert "[1] moon \u2013 moon.md\n[2] Moon \u2013 https://moon.example/landing\n" in home.read(
        "a_research_output.txt"
    )


def test_a_search_of_notes_is_replayed_as_it_was(home: Home, coder: Coder):
    """Killed with -9 after a search of the notes: the run goes on with what was found then, whatever is there now."""
    note(home, "bees.md", "The bees are in the south meadow.")
    coder.on("bees", "found = files('bees')\nprint(found[0].path)", "answer(found[0].text)")
    home.save("plan_job_input.txt", "---\ntools: files\n---\nWhere are the bees?")
    with home.daemon(program=[str(CRASH_CHILD), str(home.workspace), "search.recorded"]) as daemon:
        assert daemon.ended() == -signal.SIGKILL, daemon.tail
    note(home, "bees.md", "The bees have gone.")
    with home.daemon() as daemon:
        daemon.answered("plan_job_output.txt")
    assert home.read("plan_job_output.txt").startswith("The bees are in the south meadow.")
    assert home.status_of("plan_job_input.txt")["usage"]["searches"] == 1


def test_no_query_ends_in_a_traceback(home: Home, coder: Coder):
    """Whatever the model's code looks for is words; what it may not ask for is an exception in words."""
    note(home, "bees.md", "The bees.")
    coder.on(
        "odd",
        """
        found = [len(files(query)) for query in ('"', 'AND', 'NEAR(', 'a OR (', '*', "'; DROP TABLE notes", 'bees')]
        try:
            files(" ")
        except ValueError as error:
            found.append(str(error))
        answer(str(found))
        """.replace("\n        ", "\n"),
    )
    with home.daemon() as daemon:
        home.save("plan_job_input.txt", "---\ntools: files\n---\nodd")
        daemon.answered("plan_job_output.txt")
    assert home.read("plan_job_output.txt") == "[0, 0, 0, 0, 0, 0, 1, 'files(): query: say what to look for']\n"


def test_a_deleted_index_loses_nothing(home: Home, coder: Coder):
    """The index may be deleted while the daemon runs: the next search builds it again and finds the same."""
    note(home, "bees.md", "# Bees\nIn the south meadow.")
    coder.on("bees", FIND_BEES)
    with home.daemon() as daemon:
        home.save("a_job_input.txt", "---\ntools: files\n---\nbees?")
        daemon.answered("a_job_output.txt")
        (index,) = home.states.glob("rlmwatch/*/notes.sqlite3")
        index.unlink()
        home.save("b_job_input.txt", "---\ntools: files\n---\nbees, again?")
        daemon.answered("b_job_output.txt")
    assert home.read("a_job_output.txt") == home.read("b_job_output.txt")
    assert not list(home.workspace.rglob("*.sqlite3*"))
