"""The small model that is embedded."""
