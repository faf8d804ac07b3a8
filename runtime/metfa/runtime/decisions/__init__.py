"""What successive predictions amount to, and whether the model knows the scanner. No clock, no input or output."""
