"""`python -m waiter` and the `waiter` command."""

from waiter.cli import main

if __name__ == "__main__":
    main()
