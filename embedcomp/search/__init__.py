"""The learned search: splits, sizes and methods under a byte budget."""
