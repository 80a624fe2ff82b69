"""The kitchen in a MongoDB, for waiters on many machines."""
