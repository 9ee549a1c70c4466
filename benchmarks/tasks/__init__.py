"""Tasks with known answers, of any length: each file makes problems of one kind."""
