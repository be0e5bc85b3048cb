"""Files: packed tables, models of the BERT family, word vectors."""

from typing import TYPE_CHECKING

from embedcomp._internal import lazy

if TYPE_CHECKING:
  from embedcomp.io.bert.pretrained import from_pretrained, save_pretrained
  from embedcomp.io.packed import load, load_scheme, save
  from embedcomp.io.word_vectors import read_word_vectors

__all__ = [
  'from_pretrained',
  'load',
  'load_scheme',
  'read_word_vectors',
  'save',
  'save_pretrained',
]

_MODULES = {
  'from_pretrained': 'embedcomp.io.bert.pretrained',
  'load': 'embedcomp.io.packed',
  'load_scheme': 'embedcomp.io.packed',
  'read_word_vectors': 'embedcomp.io.word_vectors',
  'save': 'embedcomp.io.packed',
  'save_pretrained': 'embedcomp.io.bert.pretrained',
}

if not TYPE_CHECKING:
  __getattr__, __dir__ = lazy.attach(__name__, _MODULES)
