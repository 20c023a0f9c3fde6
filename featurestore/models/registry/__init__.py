"""What MLflow says of registered models, and the events that were seen there."""
