"""The frame that a model reads: its columns, and the values in them."""
