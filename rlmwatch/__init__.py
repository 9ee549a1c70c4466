"""A folder that answers: save a text file, and the answer appears beside it."""

__version__ = "0.1.0"
