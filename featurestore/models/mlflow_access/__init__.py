"""How MLflow is reached: its import, address, time limits, and last answers."""
