"""What no later try can reach."""

from __future__ import annotations

import socket
import ssl

import pytest

from rlmwatch.connecting import lasting


def raised_from(cause: BaseException) -> BaseException:
    try:
        raise ConnectionError("wrapped") from cause
    except ConnectionError as error:
        return error


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (untrusted(), "self-signed"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), "TLS"),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "name"),
        (socket.gaierror(socket.EAI_NODATA, "no address"), "name"),
    ],
)
def test_a_wrong_name_certificate_or_protocol_lasts(error, words):
    """These need a person, whatever they are wrapped in."""
    assert words in (lasting(error) or "")
    assert words in (lasting(raised_from(error)) or "")


@pytest.mark.parametrize(
    "error",
    [
        socket.gaierror(socket.EAI_AGAIN, "later"),
        ConnectionRefusedError(111, "refused"),
        ConnectionResetError(104, "reset"),
        TimeoutError(),
        ssl.SSLEOFError(8, "EOF"),
        OSError(101, "network is unreachable"),
    ],
)
def test_what_may_pass_does_not_last(error):
    """A server that is not up yet, a network that is down and a name server that is silent come back by themselves."""
    assert lasting(error) is None
    assert lasting(raised_from(error)) is None
