"""The search of a run's hyper-parameters, without target labels."""
