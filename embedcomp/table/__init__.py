"""A compressed table: its scheme, and how its params are read."""

from embedcomp.table.read import init, logits, lookup, reconstruct
from embedcomp.table.scheme import Group, Scheme

__all__ = ['Group', 'Scheme', 'init', 'logits', 'lookup', 'reconstruct']
