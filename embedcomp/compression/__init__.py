"""Post-training compression: schemes for a table, by size or by error."""

from embedcomp.compression.budget import parse_budget
from embedcomp.compression.fitting import relative_error
from embedcomp.compression.post_training import (
  CONTEXTUAL_METHODS,
  DEFAULT_METHODS,
  compress,
  fit,
  frontier,
)
from embedcomp.compression.rate_distortion import SizeErrorCurve

__all__ = [
  'CONTEXTUAL_METHODS',
  'DEFAULT_METHODS',
  'SizeErrorCurve',
  'compress',
  'fit',
  'frontier',
  'parse_budget',
  'relative_error',
]
