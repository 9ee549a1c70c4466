"""Job files and cancel requests."""
