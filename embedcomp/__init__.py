"""embedcomp: the smallest word-embedding layer that keeps the metric."""

from embedcomp import methods
from embedcomp.attention.dense import dense_attention
from embedcomp.attention.recursive import recursive_attention
from embedcomp.compression import SizeErrorCurve, frequency, relative_error
from embedcomp.compression.post_training import compress, fit, frontier
from embedcomp.embed import embed_from_table
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
  'Scheme',
  'SizeErrorCurve',
  'combine',
  'compress',
  'dense_attention',
  'dequantize_encoder',
  'embed_from_table',
  'fit',
  'freeze',
  'frequency',
  'from_pretrained',
  'frontier',
  'init',
  'load',
  'logits',
  'lookup',
  'methods',
  'partition',
  'quantize_encoder',
  'reconstruct',
  'recursive_attention',
  'relative_error',
  'save',
  'save_pretrained',
  'thaw',
]
