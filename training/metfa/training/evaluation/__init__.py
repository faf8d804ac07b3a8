"""Scores of networks and of exported bundles on held-out images, and what is drawn of them."""
