"""The file contract as code: pure."""
