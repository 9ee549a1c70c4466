"""Text out of documents that are not text, by a process that can do nothing else."""
