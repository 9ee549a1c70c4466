"""Which mounts make no events."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlmwatch.watch.mounts import Mounts, remote

LIST = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /home/ada/cloud rw,nosuid shared:9 - fuse.rclone drive: rw,user_id=1000
31 22 0:26 / /srv/nfs rw master:3 - nfs4 server:/export rw
32 22 0:27 / /mnt/my\040share rw - cifs //nas/x rw
33 22 8:17 / /mnt/usb rw - fuseblk /dev/sdb1 rw
34 31 0:28 / /srv/nfs/local rw - tmpfs none rw
35 22 0:29 / /srv/covered rw - ext4 /dev/vdb rw
36 22 0:30 / /srv/covered rw - 9p host rw
"""


@pytest.mark.parametrize(
    ("root", "kind"),
    [
        ("/home/ada/notes", None),
        ("/home/ada/cloud", "fuse.rclone"),
        ("/home/ada/cloud/notes", "fuse.rclone"),
        ("/home/ada/cloudy", None),
        ("/home/ada", "fuse.rclone"),
        ("/srv/nfs/a", "nfs4"),
        ("/srv/nfs/local/a", None),
        ("/mnt/my share/a", "cifs"),
        ("/mnt/usb/a", None),
        ("/srv/covered", "9p"),
    ],
)
def test_network_and_fuse_mounts_are_known(root: str, kind: str | None):
    """A workspace on, or with, a mount that changes elsewhere is walked every few seconds."""
    assert remote(Path(root), LIST) == kind


def test_this_machines_list_can_be_read(tmp_path: Path):
    """The kernel's own list is understood."""
    assert remote(tmp_path) is None or isinstance(remote(tmp_path), str)


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("40 22 8:33 / /home/ada/notes/disk rw - ext4 /dev/sdc1 rw\n", True),
        ("40 22 8:33 / /home/ada/notes rw - ext4 /dev/sdc1 rw\n", True),
        ("40 22 8:33 / /home/ada/notes/a\\040disk rw - nfs4 server:/x rw\n", True),
        ("40 22 8:33 / /home/ada rw - ext4 /dev/sdc1 rw\n", False),
        ("40 22 8:33 / /home/ada/notes2 rw - ext4 /dev/sdc1 rw\n", False),
    ],
)
def test_what_is_mounted_in_the_workspace_later_is_noticed(line: str, changed: bool):
    """A disk that is mounted or unmounted below the workspace shows once; mounts elsewhere do not matter."""
    mounts = Mounts(Path("/home/ada/notes"))
    assert not mounts.changed(LIST)
    assert not mounts.changed(LIST)
    assert mounts.changed(LIST + line) is changed
    assert not mounts.changed(LIST + line)
    assert mounts.changed(LIST) is changed


def test_another_disk_in_the_same_place_is_noticed():
    """A disk that is exchanged between two looks is another mount in the same place."""
    mounts = Mounts(Path("/srv"))
    mounts.changed("40 22 8:33 / /srv/disk rw - ext4 /dev/sdc1 rw\n")
    assert mounts.changed("41 22 8:34 / /srv/disk rw - ext4 /dev/sdd1 rw\n")
