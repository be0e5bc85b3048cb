"""embedcomp: the smallest word-embedding layer that keeps the metric."""

from embedcomp import methods
from embedcomp.attention.dot_product import dense_attention
from embedcomp.attention.recursive import recursive_attention
from embedcomp.compression import RateDistortionCurve, frequency, relative_error
from embedcomp.compression.post_training import (
  compress,
  fit,
  rate_distortion_curve,
)
from embedcomp.io.bert.pretrained import from_pretrained, save_pretrained
from embedcomp.io.packed import load, save
from embedcomp.methods.forms import Stored, merge_params, split_params
from embedcomp.nn.bert.config import BertConfig
from embedcomp.nn.bert.encoder import Bert
from embedcomp.nn.bert.int8 import dequantize_encoder, quantize_encoder
from embedcomp.nn.embedding import GroupedEmbed, to_params, to_variables
from embedcomp.table.group_params import (
  dequantize_params,
  init,
  quantize_params,
)
from embedcomp.table.read import logits, lookup, reconstruct
from embedcomp.table.scheme import Group, Scheme

__all__ = [
  'Bert',
  'BertConfig',
  'Group',
  'GroupedEmbed',
  'RateDistortionCurve',
  'Scheme',
  'Stored',
  'compress',
  'dense_attention',
  'dequantize_encoder',
  'dequantize_params',
  'fit',
  'frequency',
  'from_pretrained',
  'init',
  'load',
  'logits',
  'lookup',
  'merge_params',
  'methods',
  'quantize_encoder',
  'quantize_params',
  'rate_distortion_curve',
  'reconstruct',
  'recursive_attention',
  'relative_error',
  'save',
  'save_pretrained',
  'split_params',
  'to_params',
  'to_variables',
]
