"""cli/arguments.py: WORKSPACE, RUN and FILE mean the same in every verb; what scripts wrote earlier goes on."""

from __future__ import annotations

import json

import pytest

from rlmwatch.cli.again import again
from rlmwatch.cli.arguments import named_run
from rlmwatch.cli.main import EARLIER, VERBS, build
from rlmwatch.cli.runs import runs
from rlmwatch.cli.show import show
from rlmwatch.cli.status import status
from rlmwatch.errors import UsageError

WITHOUT_FOLDER = {"answer", "setup", "service", "models", "model", "worker"}
"""`answer` and `setup` take a file or make a folder, `service` several folders; the others need none."""
FOLDER_FIRST = {"init", "run", "runs", "costs", "doctor", "reload", "ledger"}


def names(app):
    return {name for argument in app.assemble_argument_collection() for name in argument.names}


@pytest.mark.parametrize("verb", [each for each in VERBS if each not in WITHOUT_FOLDER])
def test_every_verb_takes_the_workspace_by_the_same_option(verb):
    """`--workspace` and `-w` are there in each verb that works on a folder."""
    app = build()[verb]
    below = [app[each] for each in app if not each.startswith("-")] or [app]
    for each in below:
        assert {"--workspace", "-w"} <= names(each)


@pytest.mark.parametrize("verb", sorted(FOLDER_FIRST - {"ledger"}))
def test_a_verb_without_another_word_takes_the_workspace_as_its_first(verb, tmp_path):
    """`rlmwatch VERB WORKSPACE` and `rlmwatch VERB -w WORKSPACE` are the same."""
    app = build()
    given = [
        app.parse_args([verb, *words])[1].arguments["workspace"] for words in ([str(tmp_path)], ["-w", str(tmp_path)])
    ]
    assert given == [tmp_path, tmp_path]


def a_job(workspace):
    return next((workspace / "jobs").glob("*-job-*")).stem


def test_a_run_is_named_by_its_id_a_part_of_it_or_its_file(workspace, monkeypatch):
    """The whole id, its beginning, its last letters, the file of its question, or that of its submission."""
    whole = a_job(workspace)
    file = workspace / "count_job_input.txt"
    monkeypatch.chdir(workspace)
    for named in (whole, whole[:-2], whole.rpartition("-")[2], str(file), "count_job_input.txt", f"jobs/{whole}.json"):
        for folder in (workspace, None):
            paths, found = named_run(named, folder)
            assert (paths.root, found) == (workspace, whole), named
    monkeypatch.chdir(workspace / "garden")
    assert named_run("beans_input.txt", None)[0].root == workspace
    assert "-chat-" in named_run("garden/beans_input.txt", workspace)[1]


def test_a_file_without_a_run_is_said(workspace):
    """A question that was never asked has no run; the verb that asks it is named."""
    (workspace / "new_input.txt").write_text("?")
    with pytest.raises(UsageError, match=r"no run of it is known here; `rlmwatch answer .*new_input\.txt`"):
        named_run(str(workspace / "new_input.txt"), None)


def test_show_and_status_take_the_file_of_a_question(workspace, capsys):
    """Its newest run is meant."""
    file = str(workspace / "count_job_input.txt")
    show(file)
    assert "print(len(context))" in capsys.readouterr().out
    status(file, as_json=True)
    assert json.loads(capsys.readouterr().out)["job_id"] == a_job(workspace)


def test_status_takes_the_folder_as_its_first_word(workspace, capsys):
    """`rlmwatch status WORKSPACE` is `rlmwatch status -w WORKSPACE`."""
    status(str(workspace), as_json=True)
    first = json.loads(capsys.readouterr().out)
    status(workspace=workspace, as_json=True)
    assert json.loads(capsys.readouterr().out) == first


def test_again_takes_a_run_or_its_file(workspace, capsys):
    """Both have the question asked once more; a job from `jobs/` has no file to be saved again."""
    for named in (str(workspace / "count_job_input.txt"), a_job(workspace)):
        again(named, workspace=workspace)
        assert "count_job_input.txt: will be asked again" in capsys.readouterr().err
    (workspace / "jobs/mine.json").write_text('{"status": "complete", "input_digest": "x", "input": "jobs/mine.json"}')
    with pytest.raises(UsageError, match="rlmwatch retry"):
        again("mine", workspace=workspace)


def test_earlier_spellings_go_on_and_no_help_has_them(workspace, capsys):
    """`jobs` is `runs`, and a status may be named by the value of a status file; the help has today's words alone."""
    app = build()
    for earlier, verb in EARLIER.items():
        app([earlier, str(workspace), "--status", "complete", "--json"], result_action="return_value")
        old = json.loads(capsys.readouterr().out)
        app([verb, str(workspace), "--status", "answered", "--json"], result_action="return_value")
        assert json.loads(capsys.readouterr().out) == old != []
        app(["--help"], result_action="return_value")
        listed = capsys.readouterr().out.split()
        assert (earlier in listed, verb in listed) == (False, True)


def test_a_status_that_is_none_is_said(workspace):
    """With the words that there are."""
    with pytest.raises(UsageError, match=r"--status done: one of waiting, running, held, answered"):
        runs(workspace, status="done")
