"""A small kernel for discrete-event models."""
