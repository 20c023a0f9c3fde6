"""The language of definitions: frozen dataclasses on the standard library alone."""
