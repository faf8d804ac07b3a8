"""Observations in web browsers.

``access.py`` says who may look, ``board.py`` holds what is shown, ``http.py`` reads requests and writes responses,
``routes.py`` and ``events.py`` say what these hold, and ``server.py`` serves them. ``page.html``, ``page.css`` and
``page.js`` show them. Needs the extra ``web``.
"""

from .access import Access, Address
from .board import About
from .sink import DashboardSink

__all__ = ["About", "Access", "Address", "DashboardSink"]
