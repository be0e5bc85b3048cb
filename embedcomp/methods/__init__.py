"""Compression methods: one file each, all with the same few functions."""

from embedcomp.methods.base import BasisMethod, Method, PieceMethod
from embedcomp.methods.dense import Dense
from embedcomp.methods.low_rank import LowRank
from embedcomp.methods.product_quantization import (
  ProductQuantization,
  VectorQuantization,
)
from embedcomp.methods.registry import from_dict, get, names, register, to_dict
from embedcomp.methods.storage import STORAGES

__all__ = [
  'STORAGES',
  'BasisMethod',
  'Dense',
  'LowRank',
  'Method',
  'PieceMethod',
  'ProductQuantization',
  'VectorQuantization',
  'from_dict',
  'get',
  'names',
  'register',
  'to_dict',
]
