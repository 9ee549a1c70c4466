"""Presets and the settings of sub-folders, with the real daemon (file contract, section 1; guide)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from servers.openai_server import Call, Fault, OpenAIServer
from system.conftest import Shared
from system.harness import Home, question

GERMAN = "---\ndescription: into German\ntemperature: 0.3\ntokens: 222\n---\nIn German, {{tone}}:\n\n{{question}}\n"


def one(calls: list[Call]) -> dict[str, Any]:
    (call,) = calls
    return call.body


def error_of(shared: Shared, path: str) -> str:
    shared.daemon.wait("run.failed", path=path)
    return shared.home.appears(path.replace("_input.txt", "_error.txt"))


def test_a_preset_gives_its_options_and_its_text_and_memory_keeps_the_question(shared: Shared):
    """`preset:` asks the preset's text with the question in it, by its options; the state keeps what was typed."""
    shared.home.save("presets/german.md", GERMAN)
    shared.home.save("p/one_input.txt", "---\npreset: german\nvars:\n  tone: kindly\n---\nHello there\n")
    shared.daemon.answered("p/one_output.txt")
    body = one(shared.asked("Hello there"))
    assert question(body) == "In German, kindly:\n\nHello there"
    assert (body["temperature"], body.get("max_completion_tokens") or body["max_tokens"]) == (0.3, 222)
    assert shared.home.turns("p/one_state.json") == ["Hello there\n"]


def test_the_persons_head_goes_before_the_preset(shared: Shared):
    """What the question's own head says beats what the preset says."""
    shared.home.save("presets/german2.md", GERMAN)
    head = "---\npreset: german2\ntokens: 99\nvars:\n  tone: drily\n---\n"
    shared.home.save("p/own_input.txt", f"{head}Own head\n")
    shared.daemon.answered("p/own_output.txt")
    body = one(shared.asked("Own head"))
    assert (body["temperature"], body["max_tokens"]) == (0.3, 99)


def test_a_misspelt_preset_is_an_error_with_the_near_names_and_nothing_is_lost(shared: Shared):
    """`preset: edtor` makes no call and names `editor`; the same text with the name put right is answered."""
    shared.home.save("p/slip_input.txt", "---\npreset: edtor\n---\nSlip of the pen\n")
    assert "did you mean editor?" in error_of(shared, "p/slip_input.txt")
    assert shared.asked("Slip of the pen") == []
    assert "Slip of the pen" in shared.home.read("p/slip_input.txt")
    shared.home.save("p/slip_input.txt", "---\npreset: editor\n---\nSlip of the pen\n")
    shared.daemon.answered("p/slip_output.txt")
    assert "Edit the text below" in question(one(shared.asked("Slip of the pen")))


def test_a_question_whose_preset_was_put_right_is_asked_when_it_is_saved_again(shared: Shared):
    """After a wrong preset was repaired, the same bytes, saved once more, are asked."""
    shared.home.save("presets/wip.md", "Say it {{how}}: {{question}}")
    shared.home.save("p/wip_input.txt", "---\npreset: wip\n---\nWork in progress\n")
    said = error_of(shared, "p/wip_input.txt")
    assert "presets/wip.md" in said
    assert "{{how}}" in said
    shared.home.save("presets/wip.md", "Say it well: {{question}}")
    shared.home.save("p/wip_input.txt", "---\npreset: wip\n---\nWork in progress\n")
    shared.daemon.answered("p/wip_output.txt")
    assert question(one(shared.asked("Work in progress"))) == "Say it well: Work in progress"


def test_editing_a_preset_asks_no_answered_question_again(home: Home, brain):
    """A preset edited later, with a restart in between and the question touched, starts nothing."""
    home.save("presets/mine.md", "First form: {{question}}")
    home.save("a_input.txt", "---\npreset: mine\n---\nOnly once\n")
    with home.daemon() as daemon:
        daemon.answered("a_output.txt")
        home.save("presets/mine.md", "Second form: {{question}}")
        home.save("a_input.txt", "---\npreset: mine\n---\nOnly once\n")
        daemon.wait("save.same_bytes", path="a_input.txt")
    with home.daemon() as daemon:
        home.save("later_input.txt", "---\npreset: mine\n---\nLater\n")
        daemon.answered("later_output.txt")
    asked = [question(call.body) for call in home.provider.calls if "once" in question(call.body)]
    assert asked == ["First form: Only once"]
    assert home.cli("again", str(home.workspace / "a_input.txt")).returncode == 0
    with home.daemon() as daemon:
        daemon.answered("a_output.txt")
    assert question(home.provider.calls[-1].body) == "Second form: Only once"


def test_the_folders_preset_and_options_hold_for_the_folders_below_the_nearest_first(shared: Shared):
    """`rlmwatch.toml` of a sub-folder sets preset and options for it and below; the nearest wins; `none` is none."""
    shared.home.save("presets/loud.md", "LOUD {{folder}}/{{file}}: {{question}}")
    shared.home.save("f/rlmwatch.toml", 'preset = "loud"\n[chat]\ntokens = 111\ntemperature = 0.5\n')
    shared.home.save("f/g/rlmwatch.toml", "[chat]\ntokens = 122\n")
    shared.home.save("f/g/h/x_input.txt", "Deep down\n")
    shared.daemon.answered("f/g/h/x_output.txt")
    body = one(shared.asked("Deep down"))
    assert question(body) == "LOUD f/g/h/x_input.txt: Deep down"
    assert (body["max_tokens"], body["temperature"]) == (122, 0.5)
    shared.home.save("f/y_input.txt", "---\npreset: none\n---\nNone of it\n")
    shared.daemon.answered("f/y_output.txt")
    assert question(one(shared.asked("None of it"))) == "None of it\n"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("host", 'preset = "editor"\nhost = "me"\n', "r0/rlmwatch.toml, line 2: host: a sub-folder may not set this"),
        ("marker", 'ready_marker = "//send"\n', "line 1: ready_marker: a sub-folder may not set this"),
        ("ceilings", "\n[ceilings]\nmax_cost_usd_per_day = 9\n", "line 2: ceilings: a sub-folder may not set this"),
        ("slip", "[chat]\n\ntemprature = 1\n", "line 3: chat.temprature: no such option; did you mean temperature?"),
        ("toml", "preset = \n", "no valid TOML"),
        ("unknown", 'preset = "nobody"\n', "there is no preset nobody"),
    ],
)
def test_what_a_sub_folder_may_not_set_is_an_error_by_name_with_file_and_line(shared: Shared, name, text, says):
    """A sub-folder's file that sets what holds for the whole workspace, or is wrong, is named, and nothing is asked."""
    folder = f"wrong-{name}/r0"
    shared.home.save(f"{folder}/rlmwatch.toml", text)
    shared.home.save(f"{folder}/q_input.txt", f"Refused {name}\n")
    assert says in error_of(shared, f"{folder}/q_input.txt")
    assert shared.asked(f"Refused {name}") == []


@pytest.mark.parametrize("name", ["x_input.md", "sub/chat_input.txt", "research_prompt.md", "chat-input.txt"])
def test_nothing_in_presets_is_asked(shared: Shared, name: str):
    """A file in `presets/` is no question, whatever its name, and no note says that its name is wrong."""
    shared.home.save(f"presets/{name}", "Never asked\n")
    shared.home.save(f"p/after-{name.replace('/', '-').partition('_')[0]}_input.txt", f"After {name}\n")
    shared.daemon.answered(f"p/after-{name.replace('/', '-').partition('_')[0]}_output.txt")
    assert shared.asked("Never asked") == []
    assert not shared.home.exists(f"presets/{name}.note.txt")


def test_a_workspaces_preset_raises_no_ceiling_of_the_user(home: Home, brain):
    """`max_cost_usd` of a preset stays under the user's ceiling per run, as that of rlmwatch.toml does."""
    home.set("[ceilings]\nmax_cost_usd_per_run = 0.01\n")
    home.save("presets/rich.md", "---\nmax_cost_usd: 50\n---\n{{question}}")
    home.save("a_input.txt", "---\npreset: rich\n---\nHow rich?\n")
    with home.daemon() as daemon:
        daemon.answered("a_output.txt")
    assert home.status_of("a_input.txt")["budget"]["max_cost_usd"] == 0.01


def test_a_preset_may_name_no_provider_that_the_user_did_not_open(home: Home, brain):
    """`provider` in a preset is the workspace's word: one that is not opened is refused before any call."""
    home.set('[providers.work]\nbase_url = "http://127.0.0.1:9/v1"\n')
    home.save("presets/elsewhere.md", "---\nprovider: work\n---\n{{question}}")
    home.save("a_input.txt", "---\npreset: elsewhere\n---\nWho?\n")
    with home.daemon() as daemon:
        daemon.wait("run.failed", path="a_input.txt")
    assert "workspaces = true" in home.read("a_error.txt")
    assert home.provider.calls == []


def test_the_workspaces_preset_goes_before_the_users_and_both_before_the_shipped(home: Home, brain):
    """Of presets with one name that of the workspace holds, then the user's own, then the shipped one."""
    (home.config / "presets").mkdir()
    (home.config / "presets" / "editor.md").write_text("---\ndescription: mine\n---\nMine: {{question}}")
    assert ("user", "mine") in listed(home)
    home.save("presets/editor.md", "---\ndescription: ours\n---\nOurs: {{question}}")
    assert ("workspace", "ours") in listed(home)
    shown = home.cli("presets", "editor", "-w", str(home.workspace))
    assert shown.stdout == "---\ndescription: ours\n---\nOurs: {{question}}\n"
    values = json.loads(home.cli("presets", "translator", "--json").stdout)
    assert values["options"]["vars"] == {"language": "English"}


def listed(home: Home) -> set[tuple[str, str]]:
    found = json.loads(home.cli("presets", "--json", "-w", str(home.workspace)).stdout)
    return {(preset["origin"], preset["description"]) for preset in found if preset["name"] == "editor"}


def test_presets_of_a_hostile_workspace_are_errors_that_name_the_file(home: Home, brain):
    """A link out, a huge file, bytes that are no text, and a preset with a preset: an error each, and no call."""
    secret = home.root / "secret.md"
    secret.write_text("the secret")
    (home.workspace / "presets").mkdir()
    (home.workspace / "presets" / "link.md").symlink_to(secret)
    home.save("presets/huge.md", b"x" * 70_000)
    home.save("presets/binary.md", b"\xff\xfe\x00\x81\x00")
    home.save("presets/loop.md", "---\npreset: loop\n---\n{{question}}")
    for name in ("link", "huge", "binary", "loop"):
        home.save(f"{name}_input.txt", f"---\npreset: {name}\n---\nQuestion\n")
    with home.daemon() as daemon:
        daemon.wait("run.failed", n=4)
    assert "is a link" in home.read("link_error.txt")
    assert "larger than 64 KB" in home.read("huge_error.txt")
    assert "presets/binary.md" in home.read("binary_error.txt")
    assert "a preset cannot name another" in home.read("loop_error.txt")
    assert home.provider.calls == []


def test_a_dry_run_shows_the_preset_and_show_shows_what_was_asked(home: Home, brain):
    """`run --dry-run` shows preset and text before anything is sent; `show` shows them afterwards."""
    home.save("rlmwatch.toml", 'preset = "mine"\n')
    home.save("presets/mine.md", "By the preset: {{question}}")
    home.save("a_input.txt", "Question\n")
    said = home.cli("run", "--dry-run", str(home.workspace)).stdout
    assert "preset mine" in said
    assert "By the preset: Question" in said
    assert home.cli("answer", str(home.workspace / "a_input.txt")).returncode == 0
    run = home.status_of("a_input.txt")["job_id"]
    shown = home.cli("show", run, "-w", str(home.workspace)).stdout
    assert "presets/mine.md" in shown
    assert "By the preset: Question" in shown


def test_a_question_in_a_sub_folder_with_settings_is_still_the_workspaces(home: Home, brain):
    """`rlmwatch answer` takes the workspace around a sub-folder whose rlmwatch.toml sets a preset."""
    home.save("rlmwatch.toml", "")
    home.save("notes/rlmwatch.toml", 'preset = "editor"\n')
    home.save("notes/a_input.txt", "Teh question\n")
    assert home.cli("answer", str(home.workspace / "notes" / "a_input.txt")).returncode == 0
    assert home.status_of("notes/a_input.txt")["status"] == "complete"
    assert "Edit the text below" in question(home.provider.calls[0].body)


def test_a_job_file_may_name_a_preset(shared: Shared):
    """`preset` and `vars` stand in a job file as in a head."""
    shared.home.save("presets/jobs.md", "{{who}} asks: {{question}}")
    job = {"status": "pending", "task": "Count them", "preset": "jobs", "vars": {"who": "Ada"}}
    shared.home.save("jobs/with-preset.json", json.dumps(job))
    shared.home.appears("jobs/with-preset.json", '"complete"')
    assert question(one(shared.asked("Count them"))) == "Ada asks: Count them"


def test_a_preset_edited_while_its_run_is_under_way_changes_nothing_of_it(home: Home, brain):
    """A run that was killed in the middle asks, after the restart, what its preset said when it was saved."""
    with OpenAIServer([Fault.stall("half"), "whole"]) as slow:
        home.provider = slow
        home.save("presets/mine.md", "First form: {{question}}")
        home.save("a_input.txt", "---\npreset: mine\n---\nStill the same\n")
        with home.daemon() as daemon:
            slow.wait_for_calls(1)
            daemon.kill()
        home.save("presets/mine.md", "Second form: {{question}}")
        with home.daemon() as daemon:
            daemon.answered("a_output.txt")
        assert [question(call.body) for call in slow.calls] == ["First form: Still the same"] * 2
