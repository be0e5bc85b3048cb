"""embedcomp: the smallest word-embedding layer that keeps the metric."""

from typing import TYPE_CHECKING

from embedcomp._internal import lazy

if TYPE_CHECKING:
  from embedcomp import attention as attention
  from embedcomp import compression as compression
  from embedcomp import data as data
  from embedcomp import distillation as distillation
  from embedcomp import io as io
  from embedcomp import methods as methods
  from embedcomp import nn as nn
  from embedcomp import plots as plots
  from embedcomp import search as search
  from embedcomp import table as table
  from embedcomp import training as training
  from embedcomp import types as types
  from embedcomp._internal.version import __version__ as __version__
  from embedcomp.attention.dot_product import dense_attention
  from embedcomp.attention.recursive import recursive_attention
  from embedcomp.compression import (
    CONTEXTUAL_METHODS,
    RateDistortionCurve,
    compress,
    fit,
    frequency,
    rate_distortion_curve,
    relative_error,
    ridge_metric,
  )
  from embedcomp.data.subword_tokenizer import SubwordTokenizer
  from embedcomp.distillation.sentence_fidelity import Fidelity, fidelity
  from embedcomp.io.bert.pretrained import from_pretrained, save_pretrained
  from embedcomp.io.packed import load, save
  from embedcomp.methods.forms import Stored, merge_params, split_params
  from embedcomp.nn.bert.config import BertConfig
  from embedcomp.nn.bert.encoder import Bert
  from embedcomp.nn.bert.int8 import dequantize_encoder, quantize_encoder
  from embedcomp.nn.embedding import GroupedEmbed, to_params, to_variables
  from embedcomp.nn.sparse_attention import RecursiveAttention
  from embedcomp.search.input_metric import measure_metric
  from embedcomp.table.group_params import (
    dequantize_params,
    init,
    quantize_params,
  )
  from embedcomp.table.read import logits, lookup, reconstruct
  from embedcomp.table.resident_form import resident
  from embedcomp.table.scheme import Group, Scheme
  from embedcomp.workflows.compress_model import compress_model

__all__ = [
  'CONTEXTUAL_METHODS',
  'Bert',
  'BertConfig',
  'Fidelity',
  'Group',
  'GroupedEmbed',
  'RateDistortionCurve',
  'RecursiveAttention',
  'Scheme',
  'Stored',
  'SubwordTokenizer',
  'compress',
  'compress_model',
  'dense_attention',
  'dequantize_encoder',
  'dequantize_params',
  'fidelity',
  'fit',
  'frequency',
  'from_pretrained',
  'init',
  'load',
  'logits',
  'lookup',
  'measure_metric',
  'merge_params',
  'methods',
  'quantize_encoder',
  'quantize_params',
  'rate_distortion_curve',
  'reconstruct',
  'recursive_attention',
  'relative_error',
  'resident',
  'ridge_metric',
  'save',
  'save_pretrained',
  'split_params',
  'to_params',
  'to_variables',
]

# The module of each name, which is imported when the name is first asked for:
# importing the package itself loads next to nothing.
_MODULES = {
  '__version__': 'embedcomp._internal.version',
  'Bert': 'embedcomp.nn.bert.encoder',
  'BertConfig': 'embedcomp.nn.bert.config',
  'CONTEXTUAL_METHODS': 'embedcomp.compression',
  'Fidelity': 'embedcomp.distillation.sentence_fidelity',
  'Group': 'embedcomp.table.scheme',
  'GroupedEmbed': 'embedcomp.nn.embedding',
  'RateDistortionCurve': 'embedcomp.compression',
  'RecursiveAttention': 'embedcomp.nn.sparse_attention',
  'Scheme': 'embedcomp.table.scheme',
  'Stored': 'embedcomp.methods.forms',
  'SubwordTokenizer': 'embedcomp.data.subword_tokenizer',
  'compress': 'embedcomp.compression',
  'compress_model': 'embedcomp.workflows.compress_model',
  'dense_attention': 'embedcomp.attention.dot_product',
  'dequantize_encoder': 'embedcomp.nn.bert.int8',
  'dequantize_params': 'embedcomp.table.group_params',
  'fidelity': 'embedcomp.distillation.sentence_fidelity',
  'fit': 'embedcomp.compression',
  'frequency': 'embedcomp.compression',
  'from_pretrained': 'embedcomp.io.bert.pretrained',
  'init': 'embedcomp.table.group_params',
  'load': 'embedcomp.io.packed',
  'logits': 'embedcomp.table.read',
  'lookup': 'embedcomp.table.read',
  'measure_metric': 'embedcomp.search.input_metric',
  'merge_params': 'embedcomp.methods.forms',
  'quantize_encoder': 'embedcomp.nn.bert.int8',
  'quantize_params': 'embedcomp.table.group_params',
  'rate_distortion_curve': 'embedcomp.compression',
  'reconstruct': 'embedcomp.table.read',
  'recursive_attention': 'embedcomp.attention.recursive',
  'relative_error': 'embedcomp.compression',
  'resident': 'embedcomp.table.resident_form',
  'ridge_metric': 'embedcomp.compression',
  'save': 'embedcomp.io.packed',
  'save_pretrained': 'embedcomp.io.bert.pretrained',
  'split_params': 'embedcomp.methods.forms',
  'to_params': 'embedcomp.nn.embedding',
  'to_variables': 'embedcomp.nn.embedding',
}
_SUBMODULES = (
  *('attention', 'compression', 'data', 'distillation', 'io', 'methods', 'nn'),
  *('plots', 'search', 'table', 'training', 'types'),
)

if not TYPE_CHECKING:  # else every misspelt name would pass
  __getattr__, __dir__ = lazy.attach(__name__, _MODULES, _SUBMODULES)
