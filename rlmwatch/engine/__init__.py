"""Paid calls, and the loop of the recursive language model; knows ports, never vendors."""
