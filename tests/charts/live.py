"""A running Sidekey with what was rendered."""
