"""Delivery: from a claimed order to an outcome that the kitchen has."""
