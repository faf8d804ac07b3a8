"""What other servers than ``metfa-stream`` need to run a bundle, generated from its contract."""
