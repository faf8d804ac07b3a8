"""What metfa achieves and what it costs, measured; each module runs with ``python -m``."""
