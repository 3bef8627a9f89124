"""`python -m watchrender` is the `watchrender` command."""

from watchrender.cli import main

if __name__ == "__main__":
    main()
