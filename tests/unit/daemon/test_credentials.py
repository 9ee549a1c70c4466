"""daemon/keys.py: the environment, systemd's credentials, then the user's `.env`; never the workspace."""

from pathlib import Path

import pytest

from rlmwatch.daemon.credentials import find, find_all
from rlmwatch.errors import ConfigError


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
    with pytest.raises(ConfigError, match=r"/u/\.env: cannot be read"):
        find_all({}, Path("/u"))
