"""How close training is to the limit: forward and backward of the same network on frames that are at hand."""
