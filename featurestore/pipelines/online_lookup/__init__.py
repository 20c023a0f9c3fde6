"""Look up the newest features of entities in the online store."""
