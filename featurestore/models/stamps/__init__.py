"""The stamp in a model's artifacts: what it was trained on, and how it is read and checked."""
