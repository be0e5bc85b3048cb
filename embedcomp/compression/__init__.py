"""Post-training compression of tables to a size or to an error."""

from embedcomp.compression.budget import parse_budget
from embedcomp.compression.fitting import relative_error
from embedcomp.compression.post_training import (
  CONTEXTUAL_METHODS,
  DEFAULT_METHODS,
  compress,
  fit,
  rate_distortion_curve,
)
from embedcomp.compression.rate_distortion import RateDistortionCurve

__all__ = [
  'CONTEXTUAL_METHODS',
  'DEFAULT_METHODS',
  'RateDistortionCurve',
  'compress',
  'fit',
  'parse_budget',
  'rate_distortion_curve',
  'relative_error',
]
