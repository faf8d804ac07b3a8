"""Observations in web browsers.

``access.py`` says who may look, ``board.py`` holds what is shown of a source, ``http.py`` reads requests and writes
responses, ``routes.py`` and ``events.py`` say what these hold, and ``server.py`` serves them. ``page.html`` and
``page.js`` show a source, ``grid.html`` and ``grid.js`` several. Needs the extra ``web``.
"""

from .access import Access, Address
from .board import About, Board
from .dashboard import Dashboard

__all__ = ["About", "Access", "Address", "Board", "Dashboard"]
