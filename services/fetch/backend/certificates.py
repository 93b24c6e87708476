"""What TLS says: why it failed, and until when a certificate is valid."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import Any

# X509_V_ERR_… of OpenSSL's x509_vfy.h → our word and what to tell.
_REASONS = {
    9: ("not_yet_valid", "its certificate is not valid yet"),
    10: ("expired", "its certificate has expired"),
    18: ("self_signed", "its certificate is signed by itself"),
    19: ("self_signed", "its certificate leads to an authority that nobody here trusts"),
    20: ("untrusted", "its certificate is from an authority that nobody here trusts"),
    21: ("untrusted", "its certificate is from an authority that nobody here trusts"),
    23: ("revoked", "its certificate was revoked"),
    62: ("wrong_host", "its certificate is for another host"),
    64: ("wrong_host", "its certificate is for another address"),
}


def tls_failure(error: BaseException | None) -> tuple[str, str] | None:
    """Return a word and a clause for the TLS error that an error came from; None if there is none.

    httpcore hides the cause of its errors, but carries it as their argument.
    """
    for _ in range(10):
        if error is None or isinstance(error, ssl.SSLError):
            break
        inner = error.args[0] if error.args else None
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
    if isinstance(error, ssl.SSLCertVerificationError):
        return _REASONS.get(error.verify_code, ("invalid", "its certificate is not valid"))
    if isinstance(error, ssl.SSLError):
        return "handshake", "the two sides do not agree on how to encrypt"
    return None


def expires_at(tls: Any) -> str | None:
    """Return when the certificate of a TLS object ends, in UTC by ISO 8601; None without one."""
    if not isinstance(tls, ssl.SSLObject | ssl.SSLSocket):
        return None
    end = (tls.getpeercert() or {}).get("notAfter")
    if not isinstance(end, str):
        return None
    moment = datetime.fromtimestamp(ssl.cert_time_to_seconds(end), UTC)
    return moment.isoformat().replace("+00:00", "Z")
