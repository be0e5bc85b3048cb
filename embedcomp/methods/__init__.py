"""Compression methods: one file each, all with the same few functions."""

from embedcomp.methods.base import BasisMethod, Method, SubvectorMethod
from embedcomp.methods.dense import Dense
from embedcomp.methods.differentiable import (
  DifferentiableNearest,
  DifferentiableSoftmax,
)
from embedcomp.methods.drop import Drop
from embedcomp.methods.graded import GradedCodes
from embedcomp.methods.hashed import Hashed
from embedcomp.methods.low_rank import LowRank
from embedcomp.methods.product_quantization import ProductQuantization
from embedcomp.methods.projected_quantization import ProjectedQuantization
from embedcomp.methods.registry import (
  describe,
  from_dict,
  get,
  names,
  parse,
  register,
  to_dict,
)
from embedcomp.methods.residual_quantization import ResidualQuantization
from embedcomp.methods.scalar import ScalarCodes
from embedcomp.methods.storage import STORAGES
from embedcomp.methods.tensor_train import TensorTrain
from embedcomp.methods.vector_quantization import VectorQuantization

__all__ = [
  'STORAGES',
  'BasisMethod',
  'Dense',
  'DifferentiableNearest',
  'DifferentiableSoftmax',
  'Drop',
  'GradedCodes',
  'Hashed',
  'LowRank',
  'Method',
  'ProductQuantization',
  'ProjectedQuantization',
  'ResidualQuantization',
  'ScalarCodes',
  'SubvectorMethod',
  'TensorTrain',
  'VectorQuantization',
  'describe',
  'from_dict',
  'get',
  'names',
  'parse',
  'register',
  'to_dict',
]
