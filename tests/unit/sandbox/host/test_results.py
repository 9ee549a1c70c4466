"""What the host takes of a result frame."""

import pytest

from rlmwatch.sandbox.base import Variable
from rlmwatch.sandbox.guest.frames import BadFrame
from rlmwatch.sandbox.host.results import cell_result

GOOD = {
    "stdout": "a",
    "stdout_length": 1,
    "error": None,
    "names": [["x", "int", None, "1", ""]],
    "answer": [1],
    "restored": ["context"],
    "interrupted": True,
    "threads": 0,
}


def read(**changes):
    return cell_result({"result": GOOD | changes}, seconds=1.0, host_seconds=2.0, interrupted=True)


def test_a_result_is_read_field_by_field():
    """Every field of the frame lands where `CellResult` says."""
    result = read()
    assert result.names == (Variable("x", "int", None, "1", ""),)
    assert (result.stdout, result.answer, result.restored, result.interrupted) == ("a", [1], ("context",), True)
    assert (result.seconds, result.host_seconds) == (1.0, 2.0)


def test_an_answer_beside_an_error_does_not_count():
    """Whatever the frame says, a cell that raised has not answered."""
    assert read(error="boom").answer is None


def test_a_cell_that_was_not_asked_to_stop_was_not_interrupted():
    """A cell that raises the interrupt itself is an error like any other."""
    assert not cell_result({"result": GOOD}, seconds=0, host_seconds=0, interrupted=False).interrupted


@pytest.mark.parametrize(
    "changes",
    [
        {"stdout": 1},
        {"stdout": "x" * 300_000},
        {"stdout_length": -1},
        {"stdout_length": True},
        {"error": []},
        {"error": "x" * 20_000},
        {"names": {}},
        {"names": [["x", "int", None, "1"]]},
        {"names": [["x", "int", None, "1", ""]] * 300},
        {"names": [["x" * 600, "int", None, "1", ""]]},
        {"names": [["x", "int", 1.5, "1", ""]]},
        {"restored": ["x"] * 2_000},
        {"restored": [1]},
        {"threads": -1},
    ],
)
def test_a_field_of_another_shape_is_a_violation(changes):
    """What our worker would not send was not sent by it."""
    with pytest.raises(BadFrame):
        read(**changes)


@pytest.mark.parametrize("frame", [{}, {"result": None}, {"result": []}, {"result": {}}])
def test_a_frame_without_a_result_is_a_violation(frame):
    """A step ends with a result or not at all."""
    with pytest.raises(BadFrame):
        cell_result(frame, seconds=0, host_seconds=0, interrupted=False)
