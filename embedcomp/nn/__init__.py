"""Flax modules: thin shells that own params and call the pure functions."""

from embedcomp.nn.embedding import GroupedEmbed, to_params, to_variables

__all__ = ['GroupedEmbed', 'to_params', 'to_variables']
