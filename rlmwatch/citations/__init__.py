"""Citations that are true."""
