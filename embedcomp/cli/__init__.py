"""The command `embedcomp`."""
