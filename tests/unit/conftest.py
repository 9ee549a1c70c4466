"""What unit tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem
from pyfakefs.helpers import reset_ids, set_gid, set_uid

USER = 1000


@pytest.fixture
def disk(fs: FakeFilesystem) -> Iterator[FakeFilesystem]:
    """
    Give a disk in memory, and an ordinary user, whoever runs the tests: rights hold, and `set_disk_usage` fills it.

    It lies where a real one matters: no inotify, no locks, no leases, and fsync does nothing.
    """
    set_uid(USER)
    set_gid(USER)
    fs.set_disk_usage(1 << 30)  # used space counts from here on
    fs.create_dir("/w")
    fs.create_dir("/u")
    yield fs
    reset_ids()
