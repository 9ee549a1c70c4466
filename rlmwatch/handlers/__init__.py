"""One kind of run, one file."""
