"""Runs that other machines carry out."""
