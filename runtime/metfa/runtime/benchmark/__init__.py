"""How fast this machine runs a bundle: ``metfa-benchmark``."""
