"""The page of a kitchen for browsers: what `waiter serve` answers. It renders what `report` computes."""
