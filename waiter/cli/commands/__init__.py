"""One file per verb, named after it. Its docstring is the verb's help, and its first line what `waiter --help` says."""
