"""Observations in web browsers.

``board.py`` holds what is shown of a source, and ``routes.py`` and ``events.py`` say what is answered to a request;
``metfa.runtime.web`` serves it. ``page.html`` and ``page.js`` show a source, ``grid.html`` and ``grid.js`` several.
Needs the extra ``web``.
"""

from ...web import Address
from .board import About, Board
from .dashboard import Dashboard

__all__ = ["About", "Address", "Board", "Dashboard"]
