"""Questions that were answered once; the documentation has the answers."""
