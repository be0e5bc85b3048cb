"""Whole jobs on directories of models; the command `embedcomp` is its face."""
