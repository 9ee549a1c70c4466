"""What `rlmwatch doctor` looks at, by what it is about."""
