"""Whole jobs on directories of models."""
