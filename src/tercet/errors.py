"""The base class of every error that tercet raises on purpose.

A message says what was expected, what was found and what to do. The command line prints it without a
traceback and exits 1; anything that is not a TercetError is a bug and keeps its traceback.
"""

from __future__ import annotations


class TercetError(Exception):
    """An error that the operator can act on. `str(error)` is the whole message, without secrets."""
