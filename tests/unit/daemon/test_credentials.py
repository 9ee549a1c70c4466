"""daemon/keys.py: the environment, systemd's credentials, then the user's `.env`; never the workspace."""

from rlmwatch.daemon.credentials import find, find_all


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
