"""What the soak says at its end (`tests/soak/soak.py`), without a soak."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from soak.soak import Outside, Soak, verdict

SAMPLE = {"memory MB": 50.0, "descriptors": 20.0, "threads": 9.0, "WAL MB": 1.0, "watches less folders": 0.0}


@pytest.fixture
def soak(tmp_path: Path) -> Soak:
    """A soak that went well."""
    rng = random.Random(1)  # noqa: S311 (no secrets)
    made = Soak(tmp_path, rng, Outside(rng), "http://127.0.0.1:9/v1", "http://127.0.0.1:9", mounts={})
    made.answered["answered"] = made.faults_done["kill"] = 1
    made.samples.append(SAMPLE)
    return made


def test_a_soak_that_went_well_passes(soak: Soak, capsys: pytest.CaptureFixture[str]):
    """Nothing lost, doubled, repeated, at fault or grown: status 0, and each fact is printed once."""
    assert verdict(soak) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("faults: {") for line in lines) == 1
    assert sum("without mounts" in line for line in lines) == 1


@pytest.mark.parametrize("missing", ["answered questions", "faults", "samples"])
def test_what_was_never_tried_has_not_passed(soak: Soak, capsys: pytest.CaptureFixture[str], missing: str):
    """A soak that asked nothing, made no fault or took no sample fails, and says so."""
    {"answered questions": soak.answered, "faults": soak.faults_done, "samples": soak.samples}[missing].clear()
    assert verdict(soak) == 1
    assert f"never tried: {missing}" in capsys.readouterr().out
