"""Errors that a user can mend. Their message is one line: the value, the place, the way out."""

from __future__ import annotations


class UserError(Exception):
    """Ends a command with exit code 1 and no traceback."""


class ConfigError(UserError, ValueError):
    """Wrong usage or configuration: exit code 2."""
