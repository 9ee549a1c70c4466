"""The page: all workspaces of a user in a browser on the same machine, read-only."""
