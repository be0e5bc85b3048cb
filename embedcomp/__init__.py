"""embedcomp: the smallest word-embedding layer that keeps the metric."""

from embedcomp import frequency, methods
from embedcomp.grouped import (
  combine,
  freeze,
  init,
  logits,
  lookup,
  partition,
  reconstruct,
  thaw,
)
from embedcomp.io.packed import load, save
from embedcomp.scheme import Group, Scheme

__all__ = [
  'Group',
  'Scheme',
  'combine',
  'freeze',
  'frequency',
  'init',
  'load',
  'logits',
  'lookup',
  'methods',
  'partition',
  'reconstruct',
  'save',
  'thaw',
]
