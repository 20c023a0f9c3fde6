"""Predict with a stamped model: looked-up features, the native model, and the tables of logged predictions."""
