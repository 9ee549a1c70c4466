"""The daemon's private truth: runs and the journal of paid calls."""
