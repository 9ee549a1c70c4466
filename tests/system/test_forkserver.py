"""A program from the fork server is like one that a person starts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from system.forkserver import Process, start

TELLS = """
import os, sys, time
from pathlib import Path
print(dict(os.environ), os.getcwd(), sys.argv[1:], sys.stdin.read(), __name__)
print(sorted(int(fd.name) for fd in Path("/proc/self/fd").iterdir())[:4], time.tzname)
sys.stderr.write("and an error")
"""
ENV = {"ONE": "1", "TZ": "XYZ-3", "LC_CTYPE": "C.UTF-8"}


@pytest.fixture(params=[True, False], ids=["fresh", "forkserver"])
def python(request: pytest.FixtureRequest, tmp_path: Path):
    def run(*args: str) -> Process:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return start(args, env=ENV, cwd=tmp_path, fresh=request.param, **pipes)

    return run


def test_it_has_its_own_environment_folder_and_streams_and_nothing_else(python, tmp_path: Path):
    """Nothing of the tests or of what was started before is seen in it."""
    process = python("-c", TELLS, "word")
    out, errors = process.communicate(60)
    assert errors == "and an error"
    assert out.splitlines() == [
        f"{ENV} {tmp_path} ['word']  __main__",
        "[0, 1, 2, 3] ('XYZ', 'XYZ')",  # 3 lists the folder
    ]
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("program", "status"),
    [("raise SystemExit(3)", 3), ("1 / 0", 1), ("import os; os._exit(4)", 4), ("raise SystemExit('no')", 1)],
)
def test_its_exit_status_is_known(python, program: str, status: int):
    """However it ends."""
    process = python("-c", program)
    process.communicate(60)
    assert process.wait() == status


def test_a_signal_reaches_it(python):
    """It is ended by a signal, which its status tells."""
    process = python("-c", "import time; print('up', flush=True); time.sleep(60)")
    assert process.stdout.readline() == "up\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    assert process.poll() is None
    process.kill()
    process.communicate(60)
    assert process.wait() == -9


def test_a_file_and_a_module_are_run(python, tmp_path: Path):
    """As `python file` and `python -m module` run them: what lies beside the file, or here, can be imported."""
    (tmp_path / "beside.py").write_text("word = 'found'\n")
    (tmp_path / "there.py").write_text("import beside, sys\nprint(beside.word, sys.argv[1:], __name__)\n")
    for args in ([str(tmp_path / "there.py"), "x"], ["-m", "there", "x"]):
        assert python(*args).communicate(60)[0] == "found ['x'] __main__\n"
