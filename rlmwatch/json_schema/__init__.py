"""JSON Schema: whether it is one, and whether a value fits it, in a process that may be ended."""
