"""MiniLM-L6: its sizes, its table, and how often its word pieces occur."""

import io
from typing import Any

import numpy as np

from embedcomp.data import cache_folder, minilm_l6, topic_documents
from embedcomp.io.files import write_atomically

# A word of 20 Newsgroups counts as so many of STS-B's own: the two texts then
# weigh about the same, and words of neither are told apart.
NEWSGROUPS_SHARE = 0.015
_TABLE_KEY = 'embeddings.word_embeddings.weight'
_COUNTS_FILE = 'minilm-l6-newsgroups-counts.npy'


def minilm_sizes(smoke: bool) -> dict[str, Any]:
  """Arguments of `BertConfig` for random weights, which take the same time.

  Args:
    smoke: whether to take those of a much smaller model.
  """
  sizes = {
    'vocab_size': 30_522,
    'hidden_size': 384,
    'num_hidden_layers': 6,
    'num_attention_heads': 12,
    'intermediate_size': 1536,
    'hidden_dropout_prob': 0.0,
    'attention_probs_dropout_prob': 0.0,
  }
  if smoke:
    sizes |= {
      'vocab_size': 100,
      'hidden_size': 16,
      'num_hidden_layers': 1,
      'num_attention_heads': 2,
      'intermediate_size': 32,
    }
  return sizes


def load_minilm_table() -> np.ndarray:
  """The word embeddings of all-MiniLM-L6-v2, [30522, 384] float32."""
  from safetensors import safe_open

  path = minilm_l6() / 'model.safetensors'
  with safe_open(path, framework='numpy') as tensors:
    return tensors.get_tensor(_TABLE_KEY).astype(np.float32, copy=False)


def newsgroups_counts() -> np.ndarray:
  """Counts each subword in the training texts of 20 Newsgroups.

  Tokenized once by the model's own tokenizer, without special tokens, and kept
  in the cache.

  Returns:
    [30522] int64.
  """
  kept = cache_folder() / _COUNTS_FILE
  if kept.exists():
    return np.load(kept)
  from tokenizers import Tokenizer

  tokenizer = Tokenizer.from_file(str(minilm_l6() / 'tokenizer.json'))
  tokenizer.no_padding()
  tokenizer.no_truncation()
  texts = [text for _, text in topic_documents('newsgroups', 'train')]
  encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
  ids = np.concatenate([np.array(e.ids, np.int64) for e in encoded])
  counts = np.bincount(ids, minlength=tokenizer.get_vocab_size())
  buffer = io.BytesIO()
  np.save(buffer, counts)
  write_atomically(kept, buffer.getvalue())
  return counts
