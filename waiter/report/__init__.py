"""What people read: pure functions over orders and counts."""
