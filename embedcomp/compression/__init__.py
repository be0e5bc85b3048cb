"""Post-training compression of tables to a size or to an error."""

from typing import TYPE_CHECKING

from embedcomp._internal import lazy

if TYPE_CHECKING:
  from embedcomp.compression import frequency
  from embedcomp.compression.budget import parse_budget
  from embedcomp.compression.fitting import relative_error
  from embedcomp.compression.metric import check_metric, ridge_metric
  from embedcomp.compression.post_training import (
    CONTEXTUAL_METHODS,
    DEFAULT_METHODS,
    OPTION_METHODS,
    compress,
    fit,
    rate_distortion_curve,
  )
  from embedcomp.compression.rate_distortion import RateDistortionCurve

__all__ = [
  'CONTEXTUAL_METHODS',
  'DEFAULT_METHODS',
  'OPTION_METHODS',
  'RateDistortionCurve',
  'check_metric',
  'compress',
  'fit',
  'frequency',
  'parse_budget',
  'rate_distortion_curve',
  'relative_error',
  'ridge_metric',
]

_MODULES = {
  'CONTEXTUAL_METHODS': 'embedcomp.compression.post_training',
  'DEFAULT_METHODS': 'embedcomp.compression.post_training',
  'OPTION_METHODS': 'embedcomp.compression.post_training',
  'RateDistortionCurve': 'embedcomp.compression.rate_distortion',
  'check_metric': 'embedcomp.compression.metric',
  'compress': 'embedcomp.compression.post_training',
  'fit': 'embedcomp.compression.post_training',
  'parse_budget': 'embedcomp.compression.budget',
  'rate_distortion_curve': 'embedcomp.compression.post_training',
  'relative_error': 'embedcomp.compression.fitting',
  'ridge_metric': 'embedcomp.compression.metric',
}

if not TYPE_CHECKING:
  __getattr__, __dir__ = lazy.attach(__name__, _MODULES, ('frequency',))
