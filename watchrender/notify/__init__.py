"""Whoever wants to know is told: signed webhooks by ourselves; Slack, Teams, e-mail and the rest by apprise."""

from watchrender.notify.address import trouble
from watchrender.notify.message import of_test
from watchrender.notify.notifier import Notifier
from watchrender.notify.send import Recipient, Refusal, send

__all__ = ["Notifier", "Recipient", "Refusal", "of_test", "send", "trouble"]
