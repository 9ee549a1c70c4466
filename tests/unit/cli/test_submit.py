"""cli/submit.py: what the words and flags of a command line mean."""

import io
from types import SimpleNamespace

import pytest

from rlmwatch.cli import submit
from rlmwatch.daemon.paths import WorkspacePaths
from rlmwatch.errors import UsageError


@pytest.fixture
def stdin(monkeypatch):
    """Have "from a pipe" on standard input."""
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"from a pipe\r\n")))


def test_the_task_is_the_words_a_file_or_standard_input(tmp_path, stdin):
    """Words are joined; `-` reads standard input; --file reads a file."""
    (tmp_path / "task.txt").write_bytes("\ufeffGrüße".encode())
    assert submit._task(("what", "is", "this"), None, None) == "what is this"
    assert submit._task(("-",), None, None) == "from a pipe\n"
    assert submit._task((), tmp_path / "task.txt", None) == "Grüße"


@pytest.mark.parametrize(
    ("words", "file", "data", "says"),
    [
        ((), None, None, "what is to be done"),
        (("x",), "task.txt", None, "what is to be done"),
        (("x", "--tokenz", "5"), None, None, "--tokenz: no such option"),
        (("-",), None, "-", "not both"),
        ((), "missing.txt", None, "No such file"),
    ],
)
def test_what_cannot_be_meant_is_said(tmp_path, stdin, words, file, data, says):
    """No task, two tasks, a mistyped option, or one pipe for two things is an error in words."""
    with pytest.raises(UsageError, match=says):
        submit._task(words, tmp_path / file if file else None, data)


def test_data_in_the_workspace_is_named_and_not_copied(tmp_path, stdin):
    """What lies in the workspace goes by its path; of another file the text is taken; another folder is refused."""
    root = (tmp_path / "workspace").resolve()
    (root / "notes").mkdir(parents=True)
    (root / "notes" / "a.txt").write_text("inside")
    (tmp_path / "b.txt").write_text("outside")
    place = WorkspacePaths(root, tmp_path, tmp_path)
    assert submit._material(place, str(root / "notes" / "a.txt")) == {"data_path": "notes/a.txt"}
    assert submit._material(place, str(root / "notes")) == {"data_path": "notes"}
    assert submit._material(place, str(tmp_path / "b.txt")) == {"data": "outside"}
    assert submit._material(place, "-") == {"data": "from a pipe\n"}
    assert submit._material(place, None) == {}
    for wrong in (str(tmp_path), str(tmp_path / "missing.txt")):
        with pytest.raises(UsageError):
            submit._material(place, wrong)
