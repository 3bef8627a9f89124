"""Whom an address means, and what is wrong with it. An https address is a webhook of our own making, unless it belongs
to a chat that wants its own words: those, e-mail and all the rest are apprise's business (the extra `notify`)."""

from __future__ import annotations

import re
import sys
from enum import StrEnum
from importlib.util import find_spec
from urllib.parse import urlsplit

from watchrender.notify import signature

#: Chats whose webhooks are plain https addresses and want a body of their own form.
_CHATS = (
    "hooks.slack.com",
    "logic.azure.com",  # Teams, by a workflow
    "powerplatform.com",
    "powerautomate.com",
    "discord.com",
    "discordapp.com",
    "chat.googleapis.com",
)
_RETIRED = ("webhook.office.com", "outlook.office.com", "outlook.office365.com")


class Way(StrEnum):
    """How a target is told."""

    WEBHOOK = "webhook"
    APPRISE = "apprise"


def way(url: str) -> Way:
    """By which way an address is told."""
    scheme = url.partition("://")[0].lower()
    if scheme not in ("http", "https"):
        return Way.APPRISE
    return Way.APPRISE if _is_below(_host(url), _CHATS) else Way.WEBHOOK


def has_apprise() -> bool:
    return find_spec("apprise") is not None


def shown(url: str) -> str:
    """The address as it may be shown: the rest of it is often a secret."""
    return f"{url.partition('://')[0].lower()}://{_host(url) or '…'}/…"


def trouble(url: str, secret: str | None) -> tuple[str, str] | None:
    """What is wrong with a target, and what to do; None: it can be told, as far as looking tells."""
    if _is_below(_host(url), _RETIRED):
        return (
            "connectors of Office 365 are retired, and nothing sent there arrives",
            "Make a workflow in Teams (“When a webhook request is received”) and write its address.",
        )
    if way(url) is Way.WEBHOOK:
        wrong = signature.fault(secret) if secret is not None else None
        return (wrong, "Write the secret as the receiver gave it: whsec_… or any text.") if wrong else None
    if not has_apprise():
        pip = f'`{sys.executable} -m pip install "watchrender[notify]"`'
        return f"{shown(url)} needs the extra `notify`, which is not installed", f"{pip}, then start the service anew."
    if not _apprise_knows(url):
        cure = "Write it as apprise's documentation shows it for that service."
        return f"apprise does not understand this address of the kind {url.partition('://')[0]}://", cure
    return None


def _apprise_knows(url: str) -> bool:
    import apprise

    return apprise.Apprise.instantiate(url) is not None


def _host(url: str) -> str:
    found = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", url)
    if not found:
        return ""
    try:
        return (urlsplit(f"x://{url[found.end() :]}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_below(host: str, names: tuple[str, ...]) -> bool:
    return any(host == name or host.endswith(f".{name}") for name in names)
