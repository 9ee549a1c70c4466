"""Keys stay secret and ceilings hold (file contract, sections 4 and 6; design, section 9)."""

from __future__ import annotations

from pathlib import Path

from servers.openai_server import Fault, OpenAIServer
from system.harness import KEY, MODEL, Brain, Home

TOLD = {"error": {"message": f"Incorrect API key provided: {KEY}. Do not use {KEY}."}}


def files_with(word: bytes, *folders: Path) -> list[Path]:
    """Return every file below *folders* that holds *word*."""
    found = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert found, "nothing to look at"
    return [file for file in found if word in file.read_bytes()]


def test_a_key_is_in_no_file_and_no_log(home: Home, provider: OpenAIServer, brain: Brain):
    """A key appears in no file of the workspace, in no private state and in no log, also when a provider repeats it."""
    brain.on("answer me", "An answer.")
    brain.on("refuse me", Fault.status(401, TOLD))
    brain.on("bad request", Fault.status(400, TOLD))
    brain.on("fall over", Fault.status(500, TOLD))
    brain.on("break off", Fault.error_in_stream(TOLD["error"]))
    for name in ("answer me", "refuse me", "bad request"):
        home.save(f"{name}_input.txt", name)
    for name in ("fall over", "break off"):
        home.save(f"{name}_input.txt", f"---\nmax_seconds: 3\n---\n{name}")
    with home.daemon() as daemon:
        daemon.answered("answer me_output.txt")
        daemon.wait("run.held", path="refuse me_input.txt")
        for name in ("bad request", "fall over", "break off"):
            daemon.wait("run.failed", path=f"{name}_input.txt")
            assert home.appears(f"{name}_error.txt", "Incorrect API key provided")
    assert all(call.headers["authorization"] == f"Bearer {KEY}" for call in provider.calls)
    home.cli("run", "--once", str(home.workspace))
    spoken = [
        home.cli(*verb).stdout for verb in (("doctor", "--json", str(home.workspace)), ("jobs", str(home.workspace)))
    ]
    assert KEY not in daemon.said
    assert not [text for text in spoken if KEY in text]
    assert files_with(KEY.encode(), home.workspace, home.states) == []


def test_what_a_workspace_says_cannot_move_the_endpoint(home: Home, provider: OpenAIServer):
    """`base_url`, a provider or a ceiling in the workspace's own `rlmwatch.toml` is refused; nothing is asked."""
    home.save("a_input.txt", "hello")
    for line in (
        'base_url = "http://127.0.0.1:9/v1"',
        'provider = "openrouter"',
        "[ceilings]\nmax_cost_usd_per_day = 9",
    ):
        home.save("rlmwatch.toml", line + "\n")
        done = home.cli("run", "--once", str(home.workspace))
        assert done.returncode == 2
        assert line.split(" ")[0].strip("[]").split("]")[0] in done.stderr
        assert "rlmwatch.toml" in done.stderr
    assert provider.count == 0


def test_a_bad_file_at_a_reload_leaves_the_last_good_settings(home: Home):
    """A reload that finds a wrong setting names file and key in the log, and the last good settings stay."""
    with home.daemon() as daemon:
        home.set("[chat]\ntoken = 5\n")
        daemon.hup()
        (failed,) = daemon.seen("reload.failed")
        assert "config.toml" in failed["why"]
        assert "chat.token" in failed["why"]
        assert "did you mean tokens?" in failed["why"]
        home.save("a_input.txt", "still there?")
        daemon.answered("a_output.txt")


DEAR = f'[prices."{MODEL}"]\ninput = 0.0\noutput = 10_000\n'
"""300 tokens cost up to 3 US dollars."""


def test_the_daily_ceiling_refuses_a_call_before_it_is_made(home: Home, provider: OpenAIServer):
    """A call that may pass the day's ceiling (1 US dollar by default) is not made; a raised one lets the save go on."""
    home.set(DEAR)
    home.save("a_input.txt", "a dear question")
    with home.daemon() as daemon:
        daemon.wait("run.held", path="a_input.txt")
        assert "max_cost_usd_per_day" in home.appears("a_error.txt", "save is kept")
        assert provider.count == 0
        home.set(DEAR + "[ceilings]\nmax_cost_usd_per_day = 3.5\n")
        daemon.hup()
        daemon.answered("a_output.txt")
        assert provider.count == 1
        spent = home.status_of("a_input.txt")["usage"]["cost_usd"]
        assert 0 < spent < 1
        home.save("b_input.txt", "another one")  # what was reserved for the first and not used is free again
        daemon.answered("b_output.txt")
    assert not home.exists("a_error.txt")


def test_what_was_spent_counts_until_midnight_also_after_a_restart(home: Home, provider: OpenAIServer, brain: Brain):
    """The ceiling is across all runs of a day and survives a restart: what was spent leaves less for the next."""
    home.set(DEAR + "[ceilings]\nmax_cost_usd_per_day = 4\n")
    brain.on("spend much", "word " * 100)  # 125 tokens: 1.25 US dollars
    home.save("a_input.txt", "spend much")
    with home.daemon() as daemon:
        daemon.answered("a_output.txt")
    home.save("b_input.txt", "one more")
    with home.daemon() as daemon:
        daemon.wait("run.held", path="b_input.txt")
    assert provider.count == 1
    facts = home.cli("status", "--json", "--workspace", str(home.workspace)).stdout
    assert '"spent_today_usd": 1.25' in facts


def test_a_ceiling_that_a_person_set_holds_where_the_price_is_not_known(home: Home, provider: OpenAIServer):
    """With a ceiling in US dollars and a model without a known price no call is made; the error says how to go on."""
    home.set('base_url = "http://localhost.invalid/v1"\n[ceilings]\nmax_cost_usd_per_day = 5\n')
    home.save("a_input.txt", "---\nmodel: nobody-knows-this-model\n---\nhello")
    with home.daemon() as daemon:
        daemon.wait("run.failed", path="a_input.txt", outcome="budget_exceeded")
        assert "[prices]" in home.appears("a_error.txt", "nobody-knows-this-model")
    assert provider.count == 0


def test_a_run_that_a_ceiling_held_goes_on_the_next_day(home: Home, provider: OpenAIServer, brain: Brain):
    """Nobody needs to restart the daemon: when the day of UTC has ended, what the ceiling held is answered."""
    home.set(DEAR + "[ceilings]\nmax_cost_usd_per_day = 4\n")
    brain.on("spend much", "word " * 100)
    wall = home.root / "clock"
    wall.write_text("0")
    program = [str(Path(__file__).with_name("clock_child.py")), str(home.workspace), str(wall)]
    with home.daemon(program=program) as daemon:
        home.save("a_input.txt", "spend much")
        daemon.answered("a_output.txt")
        home.save("b_input.txt", "one more")
        daemon.wait("run.held", path="b_input.txt")
        assert "a new day (UTC)" in home.appears("b_error.txt", "tried again by itself")
        assert provider.count == 1
        wall.with_suffix(".new").write_text("86400")
        wall.with_suffix(".new").replace(wall)
        daemon.wait("run.released", path="b_input.txt")
        daemon.answered("b_output.txt")
    assert not home.exists("b_error.txt")
