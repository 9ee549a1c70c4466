"""How the address of a shared ledger is shown, and what is not taken for one."""

from __future__ import annotations

import pytest

from rlmwatch.errors import ConfigError
from rlmwatch.ledger.postgres.connection import Server, described, with_settings

PASSWORD = "made-up-7f3a9c"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{PASSWORD}@db.example:5432/runs",
        f"postgres://me:{PASSWORD}@db.example/runs?sslmode=require",
        f"postgresql://db.example/runs?user=me&password={PASSWORD}",
        f"postgresql://me:a#{PASSWORD}@db.example/runs",
        f"postgresql://me:a?{PASSWORD}@db.example/runs",
        f"postgresql://me:a%2F{PASSWORD}@db.example/runs",
    ],
)
def test_login_and_options_are_not_shown(url: str):
    """Status, log and errors name database and host of a shared ledger, never its user, password or options."""
    assert PASSWORD in with_settings(url)  # the control: it is sent
    assert described(url) == Server(url, None).name == "runs on db.example"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:a/{PASSWORD}@db.example/runs",
        f"postgresql://me:a@{PASSWORD}@db.example/runs",
        f"postgresql://me:{PASSWORD}@[::1/runs",
        f"postgresql://me:{PASSWORD}%zz@db.example/runs",
        f"postgresql://me@db.example/runs?nosuch={PASSWORD}",
    ],
)
@pytest.mark.parametrize("use", [described, with_settings])
def test_what_is_not_an_address_is_named_and_not_shown(url: str, use):
    """An address that libpq would take apart in another way than was meant is a wrong setting, without its password."""
    with pytest.raises(ConfigError, match="ledger: ") as raised:
        use(url)
    assert PASSWORD not in str(raised.value)
