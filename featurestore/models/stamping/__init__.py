"""Log a model with its stamp, or stamp one that was logged."""
