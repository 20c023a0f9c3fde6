"""Processes that do what makes the engine work, one request at a time each, and that can be ended whatever they do."""
