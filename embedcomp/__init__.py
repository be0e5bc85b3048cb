"""embedcomp: the smallest word-embedding layer that keeps the metric."""

from embedcomp import frequency, methods
from embedcomp.attention import dense_attention
from embedcomp.compress import compress, fit, frontier
from embedcomp.embed import embed_from_table
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
from embedcomp.io.huggingface import from_pretrained, save_pretrained
from embedcomp.io.packed import load, save
from embedcomp.nn.bert import Bert
from embedcomp.nn.bert_config import BertConfig
from embedcomp.nn.embedding import GroupedEmbed
from embedcomp.nn.int8 import dequantize_encoder, quantize_encoder
from embedcomp.recursive import recursive_attention
from embedcomp.scheme import Group, Scheme
from embedcomp.search import SizeErrorCurve, relative_error

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
