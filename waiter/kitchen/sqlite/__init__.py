"""The kitchen in one SQLite file, the default: nothing to set up, any number of waiters on one machine."""
