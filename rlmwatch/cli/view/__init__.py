"""The view: what a person at a terminal sees of a daemon, in place of its log."""
