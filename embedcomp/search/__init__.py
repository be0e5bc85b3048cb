"""Choosing splits, sizes and methods: the exact step that ends every search."""

from embedcomp.search.discretise import Choice, Frontier, Segment, solve

__all__ = ['Choice', 'Frontier', 'Segment', 'solve']
