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
from embedcomp.nn.bert.config import BertConfig
from embedcomp.nn.bert.encoder import Bert
from embedcomp.nn.bert.int8 import dequantize_encoder, quantize_encoder
from embedcomp.nn.embedding import GroupedEmbed
from embedcomp.table.read import (
  combine,
  freeze,
  init,
  logits,
  lookup,
  partition,
  reconstruct,
  thaw,
)
from embedcomp.table.scheme import Group, Scheme

__all__ = [
  'Bert',
  'BertConfig',
  'Group',
  'GroupedEmbed',
  'RateDistortionCurve',
  'Scheme',
  'combine',
  'compress',
  'dense_attention',
  'dequantize_encoder',
  'fit',
  'freeze',
  'frequency',
  'from_pretrained',
  'init',
  'load',
  'logits',
  'lookup',
  'methods',
  'partition',
  'quantize_encoder',
  'rate_distortion_curve',
  'reconstruct',
  'recursive_attention',
  'relative_error',
  'save',
  'save_pretrained',
  'thaw',
]
