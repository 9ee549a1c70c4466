"""A save becomes a Save."""
