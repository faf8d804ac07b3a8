"""The loop from a source to decisions, and what is made of them."""
