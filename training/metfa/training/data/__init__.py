"""From a domain specification to one indexed store of uint8 frames."""
