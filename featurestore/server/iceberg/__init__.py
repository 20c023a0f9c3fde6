"""The catalog over Iceberg's REST protocol, for other engines to read: only what whoever asks may read whole."""
