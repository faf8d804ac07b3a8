"""From files and frames to what the model sees, and what can be said of a picture whatever plane it shows."""
