"""CPUs, memory and GPUs of the host, shared by all waiters of its user: what there is, and who has how much of it."""
