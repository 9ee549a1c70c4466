"""Whether a connection that was not made can be made later."""

from __future__ import annotations

import socket
import ssl

_UNKNOWN_HOST = (socket.EAI_NONAME, socket.EAI_NODATA)
"""A name that does not exist; a name server that did not answer is EAI_AGAIN."""


def lasting(error: BaseException) -> str | None:
    """
    Return why no later try can reach what *error* says was not reached; None where one may.

    An unknown host, a certificate that is not accepted, a server that does not speak TLS: a person must change
    something. What *error* was raised from, or over, is looked at too.
    """
    seen: BaseException | None = error
    while seen is not None:
        for cause in (getattr(seen, "os_error", None), getattr(seen, "certificate_error", None), seen):
            if isinstance(cause, ssl.SSLCertVerificationError):
                why = getattr(cause, "verify_message", "") or cause
                return f"its certificate is not accepted: {why}. Where it is the right one, name it in SSL_CERT_FILE"
            if isinstance(cause, ssl.SSLError) and not isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
                why = getattr(cause, "reason", "") or cause
                return f"it does not speak TLS as it should ({why}): is it an http:// address?"
            if isinstance(cause, socket.gaierror) and cause.errno in _UNKNOWN_HOST:
                return "no host has this name"
        seen = seen.__cause__ or seen.__context__
    return None
