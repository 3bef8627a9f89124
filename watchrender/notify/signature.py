"""Signed webhooks, as Standard Webhooks has them: a receiver knows who sends, and that nothing was changed. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

_PREFIX = "whsec_"


def key(secret: str) -> bytes:
    """The bytes that a secret stands for: base64 behind `whsec_`, else the text itself. Raises ValueError."""
    if not secret.startswith(_PREFIX):
        return secret.encode("utf-8")
    try:
        found = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("what follows whsec_ in the secret is not base64") from None
    if not found:
        raise ValueError("nothing follows whsec_ in the secret")
    return found


def fault(secret: str) -> str | None:
    """What is wrong with a secret."""
    try:
        key(secret)
    except ValueError as error:
        return str(error)
    return None


def headers(*, message_id: str, at: int, body: bytes, secret: str | None) -> dict[str, str]:
    """The headers of one try: `at` is its time in seconds; a receiver refuses old ones. Without a secret unsigned."""
    found = {"webhook-id": message_id, "webhook-timestamp": str(at)}
    if secret is not None:
        signed = b".".join((message_id.encode(), str(at).encode(), body))
        digest = hmac.new(key(secret), signed, hashlib.sha256).digest()
        found["webhook-signature"] = f"v1,{base64.b64encode(digest).decode('ascii')}"
    return found
