"""Files: packed tables and word vectors of other tools."""

from embedcomp.io.packed import load, load_scheme, save

__all__ = [
  'load',
  'load_scheme',
  'save',
]
