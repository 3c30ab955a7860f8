"""`python -m polylogit` is the command line."""

from polylogit.app.cli import main

if __name__ == "__main__":
    main()
