"""The environment, systemd's credentials, the keyring, then the user's `.env`; never the workspace."""

import sys
from pathlib import Path

import pytest

from rlmwatch.daemon.credentials import find, find_all, secrets, wanted
from rlmwatch.errors import NoProvider
from rlmwatch.settings.model import ProviderSettings, Settings

FAKE_KEYRING = """
import threading
asked = []
def get_password(service, name):
    asked.append((service, name))
    if {hangs}:
        threading.Event().wait()
    if {fails}:
        raise RuntimeError("the keyring is locked")
    return "from-keyring"
"""


@pytest.fixture
def keyring(tmp_path, monkeypatch):
    """Install a keyring that answers, hangs or fails, and return what it was asked for."""

    def install(*, hangs=False, fails=False):
        (tmp_path / "lib").mkdir()
        (tmp_path / "lib" / "keyring.py").write_text(FAKE_KEYRING.format(hangs=hangs, fails=fails))
        monkeypatch.syspath_prepend(tmp_path / "lib")
        monkeypatch.delitem(sys.modules, "keyring", raising=False)

        def asked():
            return [name for _, name in sys.modules["keyring"].asked] if "keyring" in sys.modules else []

        return asked

    yield install
    sys.modules.pop("keyring", None)


def test_the_environment_comes_first(tmp_path):
    """A key that is set for this process wins over every file."""
    (tmp_path / ".env").write_text("OPENAI_API_KEY=from-file\n", encoding="utf-8")
    key = find("OPENAI_API_KEY", {"OPENAI_API_KEY": " from-env \n"}, tmp_path)
    assert key is not None
    assert key.secret.get_secret_value() == "from-env"
    assert key.origin == "environment"


def test_systemd_credentials_come_next(tmp_path):
    """A credential that systemd handed over is found under its name, in either case."""
    (tmp_path / "openai_api_key").write_text("from-systemd\n", encoding="utf-8")
    key = find("OPENAI_API_KEY", {"CREDENTIALS_DIRECTORY": str(tmp_path)}, tmp_path / "none")
    assert key is not None
    assert key.secret.get_secret_value() == "from-systemd"


def test_the_users_env_file_comes_last_and_nothing_in_it_is_expanded(tmp_path):
    """Quotes are taken off, and a dollar sign in a key stays one."""
    (tmp_path / ".env").write_text("export EXA_API_KEY='a$HOME-b'\n#OPENAI_API_KEY=no\n", encoding="utf-8")
    assert {name: key.secret.get_secret_value() for name, key in find_all({}, tmp_path).items()} == {
        "EXA_API_KEY": "a$HOME-b"
    }


def test_an_empty_key_is_no_key(tmp_path):
    """`OPENAI_API_KEY=` in the environment means that there is none."""
    assert find("OPENAI_API_KEY", {"OPENAI_API_KEY": "  "}, tmp_path) is None


def test_a_key_does_not_show_when_it_is_printed(tmp_path):
    """A key that lands in a message by mistake is not readable there."""
    assert "hidden-value" not in repr(find("OPENAI_API_KEY", {"OPENAI_API_KEY": "hidden-value"}, tmp_path))


@pytest.mark.parametrize("around", [" {}\n", "\ufeff{}", "\u200b{}\r\n", "\u00a0{}\t"])
def test_what_is_around_a_key_is_no_part_of_it(tmp_path, around):
    """Blanks, line ends and invisible characters that come along with a copied key are not sent."""
    key = find("OPENAI_API_KEY", {"OPENAI_API_KEY": around.format("a-key-1")}, tmp_path)
    assert key is not None
    assert (key.secret.get_secret_value(), key.problem) == ("a-key-1", None)


@pytest.mark.parametrize("value", ["first-half\nsecond-half", "first-half second-half", "first-half\u2026", "a\u00e9b"])
def test_a_key_that_cannot_be_sent_says_why_without_its_value(tmp_path, value):
    """A key with a line break or a foreign letter in it has a problem that names it and its place, not what it is."""
    key = find("GROQ_API_KEY", {"GROQ_API_KEY": value}, tmp_path)
    assert key is not None
    assert key.problem is not None
    assert key.problem.startswith("GROQ_API_KEY (environment) cannot be a key")
    assert "half" not in key.problem


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_an_env_file_with_a_byte_order_mark_is_read(tmp_path, encoding):
    """`.env` as PowerShell and Notepad write it: the first line's key is found, or the file is named."""
    mark = b"\xff\xfe" if encoding == "utf-16-le" else b""
    (tmp_path / ".env").write_bytes(mark + "OPENAI_API_KEY=a-key-1\r\nEXA_API_KEY=b\r\n".encode(encoding))
    assert {name: key.secret.get_secret_value() for name, key in find_all({}, tmp_path).items()} == {
        "OPENAI_API_KEY": "a-key-1",
        "EXA_API_KEY": "b",
    }


@pytest.mark.parametrize("raw", ["OPENAI_API_KEY=k\n".encode("utf-16-le"), b"OPENAI_API_KEY=\xff\xfa\n"])
def test_an_env_file_that_is_no_text_is_named(tmp_path, raw):
    """Where no key is found elsewhere, runs are held with a line that says which file; a key elsewhere is enough."""
    (tmp_path / ".env").write_bytes(raw)
    with pytest.raises(NoProvider, match=r"\.env: cannot be read: line 1"):
        find_all({}, tmp_path)
    assert list(find_all({"OPENAI_API_KEY": "k"}, tmp_path)) == ["OPENAI_API_KEY"]


def test_a_credential_may_begin_with_a_byte_order_mark(tmp_path):
    """A credential that was made from a file of Notepad's is the key alone."""
    (tmp_path / "OPENAI_API_KEY").write_bytes(b"\xef\xbb\xbfa-key-1\r\n")
    key = find("OPENAI_API_KEY", {"CREDENTIALS_DIRECTORY": str(tmp_path)}, tmp_path / "none")
    assert key is not None
    assert key.secret.get_secret_value() == "a-key-1"


def test_the_keyring_comes_before_the_env_file(tmp_path, keyring):
    """What the system keyring holds under the service `rlmwatch` is found, also for a name of one's own."""
    asked = keyring()
    (tmp_path / ".env").write_text("MY_KEY=from-file\n")
    found = find_all({}, tmp_path, named=["MY_KEY"])
    assert found["MY_KEY"].secret.get_secret_value() == "from-keyring"
    assert found["MY_KEY"].origin == "keyring"
    assert "OPENAI_API_KEY" in asked()


def test_the_environment_wins_without_asking_the_keyring(tmp_path, keyring):
    """With a model key in the environment no model key is asked of the keyring, but for those the settings name."""
    asked = keyring()
    found = find_all({"OPENAI_API_KEY": "k"}, tmp_path, named=["MY_KEY"])
    assert found["OPENAI_API_KEY"].origin == "environment"
    assert asked() == ["MY_KEY", "EXA_API_KEY"]
    assert find("OPENAI_API_KEY", {"OPENAI_API_KEY": "k"}, tmp_path) is not None
    assert asked() == ["MY_KEY", "EXA_API_KEY"]


@pytest.mark.parametrize("how", [{"hangs": True}, {"fails": True}])
def test_a_locked_or_dead_keyring_holds_nothing_up(tmp_path, keyring, how):
    """A keyring that never answers is given up after its limit, one that fails at once; other places are asked."""
    keyring(**how)
    (tmp_path / ".env").write_text("OPENAI_API_KEY=from-file\n")
    found = find_all({}, tmp_path, keyring_limit_s=0.05)
    assert found["OPENAI_API_KEY"].origin.endswith(".env")


def test_the_keys_that_settings_name_are_wanted():
    """A provider's own key and the usual one of a shipped provider that is named are looked for in every place."""
    tables = {"mine": ProviderSettings(base_url="https://x.example/v1", key="MINE"), "groq": ProviderSettings()}
    assert wanted(Settings(provider="xai", key="TOP", providers=tables)) == {
        "MINE",
        "GROQ_API_KEY",
        "XAI_API_KEY",
        "TOP",
    }


def test_a_header_that_sounds_like_a_secret_is_kept_out_of_the_log():
    """Values of headers such as X-Api-Key are known as secrets, those that say who asks are not."""
    table = ProviderSettings(base_url="https://x.example/v1", headers={"X-Api-Key": "h-1", "X-Title": "my title"})
    assert secrets(Settings(providers={"mine": table}), {}) == ["h-1"]


def secret(name, environ=None):
    key = find(name, environ or {}, Path("/u"))
    return key and key.secret.get_secret_value()


def test_each_place_is_asked_in_its_order(disk):
    """Environment, systemd credential, the user's `.env`: the first that has the key gives it."""
    environ = {"OPENAI_API_KEY": "from-env", "CREDENTIALS_DIRECTORY": "/run/credentials"}
    disk.create_file("/run/credentials/OPENAI_API_KEY", contents="from-systemd\n")
    disk.create_file("/u/.env", contents="OPENAI_API_KEY=from-file\n")
    assert secret("OPENAI_API_KEY", environ) == "from-env"
    del environ["OPENAI_API_KEY"]
    assert secret("OPENAI_API_KEY", environ) == "from-systemd"
    assert secret("OPENAI_API_KEY") == "from-file"


@pytest.mark.parametrize("content", [b"\xff\xfe\xff", b" \n"], ids=["no text", "blank"])
def test_a_credential_that_holds_no_key_leaves_the_next_place_to_be_asked(disk, content):
    """A broken credential file hides no key that is elsewhere."""
    disk.create_file("/run/credentials/OPENAI_API_KEY", contents=content)
    disk.create_file("/u/.env", contents="OPENAI_API_KEY=from-file\n")
    assert secret("OPENAI_API_KEY", {"CREDENTIALS_DIRECTORY": "/run/credentials"}) == "from-file"


def test_a_credential_without_the_right_to_read_it_leaves_the_next_place_to_be_asked(disk):
    """A credential of another service hides no key that is elsewhere."""
    disk.create_file("/run/credentials/OPENAI_API_KEY", contents="theirs")
    disk.chmod("/run/credentials/OPENAI_API_KEY", 0o000)
    disk.create_file("/u/.env", contents="OPENAI_API_KEY=from-file\n")
    assert secret("OPENAI_API_KEY", {"CREDENTIALS_DIRECTORY": "/run/credentials"}) == "from-file"


def test_the_workspace_gives_no_key(disk):
    """A `.env` in the folder that is answered is not read: it may come from anybody."""
    disk.create_file("/w/.env", contents="OPENAI_API_KEY=theirs\n")
    disk.cwd = "/w"
    assert secret("OPENAI_API_KEY") is None


@pytest.mark.parametrize(("rights", "content"), [(0o000, b"EXA_API_KEY=k\n"), (0o600, b"EXA_API_KEY=\xff\xff\n")])
def test_an_env_file_that_cannot_be_read_is_named(disk, rights, content):
    """Whoever keeps the key in a file that cannot be read is told which; it is no traceback, and no silence."""
    disk.create_file("/u/.env", contents=content)
    disk.chmod("/u/.env", rights)
    with pytest.raises(NoProvider, match=r"/u/\.env: cannot be read"):
        find_all({}, Path("/u"))
