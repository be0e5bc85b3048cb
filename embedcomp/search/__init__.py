"""Choosing splits, sizes and methods under a budget."""

from embedcomp.search.budget import parse_budget
from embedcomp.search.curve import SizeErrorCurve
from embedcomp.search.discretise import Choice, Frontier, Segment, solve
from embedcomp.search.fitting import relative_error

__all__ = [
  'Choice',
  'Frontier',
  'Segment',
  'SizeErrorCurve',
  'parse_budget',
  'relative_error',
  'solve',
]
