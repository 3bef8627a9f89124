"""Text → a frozen `Config`, every fault at once with its line. Reading the file is the caller's business."""

from watchrender.config.contradictions import cautions, is_loopback
from watchrender.config.faults import ConfigError
from watchrender.config.load import load
from watchrender.config.model import (
    VERSION,
    Config,
    Delivery,
    Folders,
    Limits,
    Log,
    Nexrender,
    NexrenderServer,
    PathRule,
    Policy,
    Queue,
    Retention,
    Retry,
    Server,
    Target,
    Verify,
    Watch,
)
from watchrender.config.places import FILE_NAME, default_state_dir, find_config, root_hash
from watchrender.config.show import Row, example, schema, secrets, settings_table
from watchrender.config.text import decode

__all__ = [
    "FILE_NAME",
    "VERSION",
    "Config",
    "ConfigError",
    "Delivery",
    "Folders",
    "Limits",
    "Log",
    "Nexrender",
    "NexrenderServer",
    "PathRule",
    "Policy",
    "Queue",
    "Retention",
    "Retry",
    "Row",
    "Server",
    "Target",
    "Verify",
    "Watch",
    "cautions",
    "decode",
    "default_state_dir",
    "example",
    "find_config",
    "is_loopback",
    "load",
    "root_hash",
    "schema",
    "secrets",
    "settings_table",
]
