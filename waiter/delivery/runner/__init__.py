"""The light child process that holds the commands, its guards, and `client`, the waiter's side of it."""
