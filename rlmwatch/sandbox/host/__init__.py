"""The host side of the sandbox."""
