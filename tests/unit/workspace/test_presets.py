"""Where presets are, and which of one name holds (workspace/presets.py)."""

from __future__ import annotations

import os
import unicodedata

import pytest

from rlmwatch.errors import InputError
from rlmwatch.workspace.presets import PresetFolders


@pytest.fixture
def folders(tmp_path):
    """A workspace and a configuration folder with presets."""
    for folder in (tmp_path / "ws" / "presets", tmp_path / "user" / "presets"):
        folder.mkdir(parents=True)
    return PresetFolders(tmp_path / "ws", tmp_path / "user")


def names(found: PresetFolders) -> list[str]:
    return [file.name for file in found.all()]


def test_the_shipped_presets_can_be_read_and_say_what_they_are_for(tmp_path):
    """Each shipped preset is whole: a description, the question in its text, and tokens that leave room."""
    shipped = PresetFolders(None, tmp_path)
    assert names(shipped) == [
        "brainstorm",
        "code-review",
        "editor",
        "explain",
        "meeting-notes",
        "summary",
        "translator",
    ]
    for name in names(shipped):
        preset = shipped.read(name)
        assert preset.description
        assert "{{question}}" in preset.text
        assert not preset.ignored
        assert (preset.options.tokens or 0) >= 500


def test_letter_case_and_how_accents_are_stored_do_not_matter(folders):
    """`Resumé` names the file that a Mac has stored as `résumé.md` in letters and accents apart."""
    stored = unicodedata.normalize("NFD", "résumé")
    (folders.root / "presets" / f"{stored}.md").write_text("Mine")
    assert folders.read("Résumé").text == "Mine"
    assert folders.read("EDITOR").origin == "shipped"


@pytest.mark.parametrize("name", ["हिन्दी", "ไทยนี้", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"])
def test_a_name_in_any_script_is_found(folders, name: str):
    """Marks that combine with a letter, and joiners, are part of names."""
    (folders.root / "presets" / f"{name}.md").write_text("Mine")
    assert name in names(folders)
    assert folders.read(name).text == "Mine"


@pytest.mark.parametrize("name", [".hidden", "~lock", "#x#", "a\nb", "a\x1b[31mb", "x" * 70, "_x"])
def test_what_is_no_presets_name_is_passed_over(folders, name: str):
    """Hidden files, locks and names with control characters are no presets, and appear in no error."""
    (folders.root / "presets" / f"{name}.md").write_text("Mine")
    assert name not in names(folders)
    with pytest.raises(InputError) as wrong:
        folders.read("nobody")
    assert name not in str(wrong.value)


def test_links_are_followed_in_the_users_own_folder_alone(folders, tmp_path):
    """A link in the workspace is an error; one in the user's configuration folder, as of dotfiles, is read."""
    (tmp_path / "elsewhere.md").write_text("Elsewhere")
    (folders.user_dir / "presets" / "mine.md").symlink_to(tmp_path / "elsewhere.md")
    assert folders.read("mine").text == "Elsewhere"
    (folders.root / "presets" / "mine.md").symlink_to(tmp_path / "elsewhere.md")
    with pytest.raises(InputError, match="is a link"):
        folders.read("mine")


def test_a_presets_folder_that_leads_elsewhere_is_none(folders, tmp_path):
    """Where `presets` of the workspace is a link, nothing of what it leads to is read."""
    (tmp_path / "ws2").mkdir()
    (tmp_path / "ws2" / "presets").symlink_to(folders.user_dir / "presets")
    (folders.user_dir / "presets" / "secret.md").write_text("x")
    with pytest.raises(InputError, match="no preset secret"):
        PresetFolders(tmp_path / "ws2", tmp_path / "none").read("secret")


def test_what_is_no_plain_file_ends_in_an_error(folders):
    """A pipe or a folder under a preset's name is an error, and nobody waits for it."""
    os.mkfifo(folders.root / "presets" / "pipe.md")
    (folders.root / "presets" / "folder.md").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(InputError, match=rf"preset {name} \(presets/{name}\.md\)"):
            folders.read(name)
