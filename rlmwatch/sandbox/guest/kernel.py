"""
System calls that Python does not offer, and what is raised when one of them is refused.

Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import struct

libc = ctypes.CDLL(None, use_errno=True)

_CAPABILITY_VERSION_3 = 0x20080522
_SYS_CAPGET, _SYS_CAPSET = {"x86_64": (125, 126), "aarch64": (90, 91)}.get(os.uname().machine, (-1, -1))


class Refused(Exception):
    """
    This process must not run a model's code.

    Attributes:
        layer: Name of the layer.
        reason: What the kernel answered.
        cure: What a person can do.
    """

    def __init__(self, layer: str, reason: str, cure: str) -> None:
        super().__init__(f"{layer}: {reason}. {cure}")
        self.layer = layer
        self.reason = reason
        self.cure = cure


def prctl(layer: str, *arguments: int, cure: str = "Report this; it should not happen.") -> None:
    """
    Call prctl for a *layer*.

    Raises:
        Refused: The kernel will not.
    """
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)][:5]
    if libc.prctl(*padded) != 0:
        raise Refused(layer, f"prctl {arguments[0]}: {os.strerror(ctypes.get_errno())}", cure)


def capabilities() -> int:
    """Return the permitted capabilities of this process; the effective and ambient ones are among them."""
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    if libc.syscall(_SYS_CAPGET, header, data) != 0:
        raise Refused("identity", os.strerror(ctypes.get_errno()), "Another filter is in the way (container, service).")
    _, low, _, _, high, _ = struct.unpack("6I", data.raw)
    return int(low | high << 32)


def set_capabilities(keep: int) -> None:
    """Hold *keep* and nothing else, and inherit nothing."""
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    low, high = keep & 0xFFFFFFFF, keep >> 32
    if libc.syscall(_SYS_CAPSET, header, struct.pack("6I", low, low, 0, high, high, 0)) != 0:
        raise Refused("identity", os.strerror(ctypes.get_errno()), "Another filter is in the way (container, service).")
