"""Which network of a run becomes the model: kept, judged and chosen without target labels."""
