"""How a run goes: a picture in its bundle, and TensorBoard where it is asked for."""
