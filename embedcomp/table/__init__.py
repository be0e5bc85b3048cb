"""A compressed table: its scheme, and how its params are read."""

from embedcomp.table.group_params import (
  dequantize_params,
  init,
  quantize_params,
)
from embedcomp.table.read import logits, lookup, reconstruct
from embedcomp.table.resident_form import resident
from embedcomp.table.scheme import Group, Scheme

__all__ = [
  'Group',
  'Scheme',
  'dequantize_params',
  'init',
  'logits',
  'lookup',
  'quantize_params',
  'reconstruct',
  'resident',
]
