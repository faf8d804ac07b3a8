"""``metfa doctor``: what is installed on this machine, and what of metfa works on it."""
