"""watchrender: the hot folder for After Effects."""

__version__ = "0.1.0"
