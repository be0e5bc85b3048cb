"""Batches of static shapes, as pure functions of the data, seed and step."""
