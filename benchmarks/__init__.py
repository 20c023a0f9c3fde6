"""Speed as ratios: each benchmark runs the store and a named alternative in turn, in one process, on the same rows."""
