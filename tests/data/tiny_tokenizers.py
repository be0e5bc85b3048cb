"""Tokenizers small enough for tests, of every kind that models come with."""

import functools
import json

from tokenizers import (
  Tokenizer,
  models,
  normalizers,
  pre_tokenizers,
  processors,
  trainers,
)

from embedcomp.data.subword_tokenizer import SubwordTokenizer

TEXTS = (
  'The cat sat on the mat, and the dog sat on the cat.',
  'Déjà vu: a mat is not a cat; is it a dog?',
  'dogs and cats, cats and dogs',
)
KINDS = ('WordPiece', 'BPE', 'Unigram')
BERT = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
ROBERTA = ['<s>', '<pad>', '</s>', '<unk>', '<mask>']


@functools.cache
def trained(kind: str) -> str:
  """A tokenizer trained on `TEXTS`, as its `tokenizer.json`."""
  options = {'show_progress': False, 'vocab_size': 80}
  if kind == 'WordPiece':
    tokenizer = Tokenizer(models.WordPiece(unk_token='[UNK]'))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(special_tokens=BERT, **options)
  elif kind == 'BPE':
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    options['vocab_size'] = 300
    trainer = trainers.BpeTrainer(
      special_tokens=ROBERTA,
      initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
      **options,
    )
  else:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
      special_tokens=ROBERTA[:4], unk_token='<unk>', **options
    )
  tokenizer.train_from_iterator(TEXTS, trainer)
  if kind == 'WordPiece':
    tokenizer.post_processor = processors.TemplateProcessing(
      single='[CLS] $A [SEP]',
      pair='[CLS] $A [SEP] $B:1 [SEP]:1',
      special_tokens=[('[CLS]', 2), ('[SEP]', 3)],
    )
    tokenizer.enable_padding(pad_id=0, length=12)
    tokenizer.enable_truncation(12)
  elif kind == 'BPE':
    tokenizer.post_processor = processors.RobertaProcessing(
      ('</s>', 2), ('<s>', 0), add_prefix_space=False
    )
  else:  # the mask is not in the vocabulary of the model
    tokenizer.add_special_tokens(['<mask>'])
    tokenizer.add_tokens(['dog?'])
    template = processors.TemplateProcessing(
      single='<s> $A </s>',
      pair='<s> $A </s> </s> $B </s>',
      special_tokens=[('<s>', 0), ('</s>', 2)],
    )
    tokenizer.post_processor = processors.Sequence([template])
  return tokenizer.to_str()


@functools.cache
def tiny(kind: str) -> SubwordTokenizer:
  """The tokenizer of a kind."""
  return SubwordTokenizer(trained(kind), {})


def fields_of(tokenizer: SubwordTokenizer, folder) -> dict:
  """What a tokenizer writes as `tokenizer.json`."""
  tokenizer.save(folder)
  return json.loads((folder / 'tokenizer.json').read_text())
