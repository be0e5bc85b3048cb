"""Helpers of the package; nothing here is public."""
