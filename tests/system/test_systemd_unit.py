"""systemd/rlmwatch.service: a unit that systemd takes without a word."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "systemd" / "rlmwatch.service"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_systemd_finds_nothing_to_say_about_the_unit(tmp_path):
    """`systemd-analyze verify` prints nothing about it."""
    found = subprocess.run(
        ["systemd-analyze", "verify", "--user", str(UNIT)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_each_directive_says_why_it_is_there():
    """Each line of the service says what it stops and why it is safe here: a comment stands above it or its group."""
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    service = lines[lines.index("[Service]") + 1 : lines.index("[Install]")]
    explained = False
    for line in service:
        if line.startswith("# "):
            explained = True
        elif not line.strip():
            explained = False
        elif not line.startswith("#"):
            assert explained, f"{line} has no reason beside it"
