"""`python -m gateway` is the `distillery` command."""

from gateway.cli import main

if __name__ == "__main__":
    main()
