"""Move aliases of registered models."""
