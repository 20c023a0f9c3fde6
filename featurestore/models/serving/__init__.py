"""Models in a server: loaded once, and replaced when an alias moves."""
