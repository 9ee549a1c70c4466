"""`python -m rlmwatch` is `rlmwatch`."""

from rlmwatch.cli.main import main

if __name__ == "__main__":
    main()
