"""Waiting until orders are finished, and telling somebody: by a command, or an HTTP POST of JSON."""
