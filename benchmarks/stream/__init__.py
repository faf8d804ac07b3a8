"""How close ``metfa-stream`` is to the limit of the machine, and to what people would use instead."""
