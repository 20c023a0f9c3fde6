"""The definition language: frozen dataclasses that need only the standard library."""
