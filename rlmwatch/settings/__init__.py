"""What holds for a run, and where each value comes from."""
