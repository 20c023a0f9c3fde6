"""Audit a model from raw tables to its predictions, and replay one of them."""
