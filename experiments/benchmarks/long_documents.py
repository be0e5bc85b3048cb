"""A frozen MiniLM-L6 on documents of more than 512 pieces, read in many ways.

The documents are those of 20 Newsgroups, 1,234 for training and 813 for
testing. The encoder reads all of them once in each way; linear classifiers
learn from the vectors that come out, one for each seed. The seed also says
which tenth of the training documents the best step is selected by, and which
sentences are drawn. Core seconds are those of reading.

A model has positions for the longest texts, however much it reads of them:
tiled ones, and with recursive and dense attention also interpolated ones.

`long_newsgroups` is the same with layers that are trained.
"""

import dataclasses
import functools
import itertools
import time
import warnings
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

import embedcomp
from configs import common
from embedcomp import data as data_lib
from embedcomp._internal.progress import track
from embedcomp.data.batches import long_documents as reading
from embedcomp.nn.classifiers import masked_mean
from experiments.benchmarks import linear_probe
from experiments.benchmarks.record import Job, Row
from experiments.benchmarks.tables import mean_and_deviation
from experiments.problems import attentions, tiny_bert

SEEDS = 3
_SPLITS = ('train', 'test')
_VECTORS = ('mean', 'first')  # of all tokens' final states, of the first one's
_POOLS = ('mean', 'max')  # of windows; a mean counts each by its tokens


@dataclasses.dataclass(frozen=True)
class _Sizes:
  """Sizes of all parts of the benchmark.

  Attributes:
    window: tokens that the model was trained for.
    lengths: beyond that.
    buckets: to pad to.
    chunk_size: of attentions that are not dense.
    num_summaries: of a block of 'recursive'.
  """

  window: int = 512
  lengths: tuple[int, ...] = (1024, 2048, 4096)
  buckets: tuple[int, ...] = (128, 256, 512, 768, 1024, 1536, 2048, 3072, 4096)
  chunk_size: int = 256
  num_summaries: int = 16

  def bucket(self, length: int) -> int:
    """The smallest that has room."""
    return next(size for size in self.buckets if size >= length)


_SMALL = _Sizes(16, (32, 64), (16, 32, 64), 8, 4)


@dataclasses.dataclass(frozen=True)
class _Way:
  """A way to read documents.

  Attributes:
    reading: 'first' of their tokens, 'sentences' at random, or 'windows'.
    attention: as in `configs/common.py`.
    lengths: so many tokens, rising.
    positions: how there come to be so many; as in `configs/common.py`.
    draw: of sentences.
  """

  reading: str
  attention: str
  lengths: tuple[int, ...]
  positions: str = 'tiled'
  draw: int | None = None

  @property
  def name(self) -> str:
    """Name in words."""
    drawn = [] if self.draw is None else [str(self.draw)]
    return ' '.join([self.reading, self.attention, self.positions, *drawn])


@dataclasses.dataclass(frozen=True, eq=False)
class _Read:
  """Vectors of the W texts of a document that were read.

  Attributes:
    vectors: [W, 2, D], the `_VECTORS` of each.
    tokens: [W].
    seconds: [W], core seconds of reading it.
  """

  vectors: np.ndarray
  tokens: np.ndarray
  seconds: np.ndarray

  def __getitem__(self, chosen: slice) -> '_Read':
    """Some of them."""
    arrays = self.vectors, self.tokens, self.seconds
    return _Read(*(array[chosen] for array in arrays))

  def pooled(self, pool: str, vector: str) -> np.ndarray:
    """[D], of all."""
    vectors = self.vectors[:, _VECTORS.index(vector)]
    if pool == 'mean':
      return np.average(vectors, axis=0, weights=self.tokens)
    return vectors.max(axis=0)


def jobs(*, smoke: bool, seeds: int) -> Sequence[Job]:
  """One job for each way to read; those that take long stand at the end.

  Args:
    smoke: whether to use a tiny BERT of random weights and made-up texts.
    seeds: classifiers for each way.
  """
  sizes = _sizes(smoke)
  window, lengths = sizes.window, sizes.lengths
  ways = [_Way('sentences', 'dense', (window,), draw=n) for n in range(seeds)]
  ways += [_Way('windows', 'dense', lengths)]
  ways += [
    _Way('first', attention, lengths)
    for attention in ('recursive', 'sliding_window', 'local')
  ]
  ways += [_Way('first', 'recursive', lengths, 'interpolated')]
  ways += [_Way('first', 'dense', (window, *lengths))]
  ways += [_Way('first', 'dense', lengths, 'interpolated')]
  return [
    Job(way.name, functools.partial(_run, smoke, way, seeds)) for way in ways
  ]


def _sizes(smoke: bool) -> _Sizes:
  return _SMALL if smoke else _Sizes()


@functools.cache
def _documents(smoke: bool):
  """The directory of the model, its tokenizer, and the documents by split."""
  if smoke:
    dataset = data_lib.load(
      'needle', length_range=(17, 80), num_documents=(60, 1, 30), progress=False
    )
    path = tiny_bert.folder(
      dataset.splits['train'].texts, max_length=16, whole_words=True
    )
  else:
    dataset = data_lib.load('newsgroups', progress=False)
    path = data_lib.minilm_l6()
  tokenizer = data_lib.SubwordTokenizer.load(path)
  least = _sizes(smoke).window + 1
  documents = {
    split: reading.of_length(dataset.splits[split], tokenizer, least)
    for split in _SPLITS
  }
  return path, tokenizer, documents


def _run(smoke: bool, way: _Way, seeds: int) -> list[Row]:
  """Reads the documents and learns from what comes out."""
  sizes = _sizes(smoke)
  texts = [_texts(smoke, way, split) for split in _SPLITS]
  encode = _make_encoder(smoke, way)
  every = itertools.chain(*itertools.chain(*texts))
  for size in {sizes.bucket(len(ids)) for ids in every}:
    encode(np.ones(size, np.int32))  # compiles, which is not counted
  read = [
    [_read(encode, one) for one in track(part, 'reading', unit='document')]
    for part in texts
  ]
  in_windows = way.reading == 'windows'
  own_seeds = range(seeds) if way.draw is None else (way.draw,)
  rows = []
  for number, length in enumerate(way.lengths):
    most = length // sizes.window if in_windows else number + 1
    used = [[one[:most] for one in part] for part in read]
    if not in_windows:  # at the last length there was anything more to read
      used = [[one[-1:] for one in part] for part in used]
    for pool in _POOLS if in_windows else ('mean',):
      named = {
        'reading': way.reading,
        'attention': way.attention,
        'length': length,
        'positions': way.positions,
        'windows': pool if in_windows else None,
      }
      found = _learn(smoke, used, pool, own_seeds)
      rows += [{**named, **row} for row in found]
  return rows


def _learn(smoke: bool, used, pool: str, seeds: Sequence[int]) -> Iterator[Row]:
  """Trains linear classifiers on what has been read, by split."""
  labels = [_documents(smoke)[2][split].labels for split in _SPLITS]
  everything = list(itertools.chain(*used))
  cost = {
    'tokens': int(sum(one.tokens.sum() for one in everything)),
    'core_seconds': float(sum(one.seconds.sum() for one in everything)),
  }
  for vector in _VECTORS:
    vectors = [
      np.stack([one.pooled(pool, vector) for one in part]) for part in used
    ]
    for seed in seeds:
      found = linear_probe.accuracies(*zip(vectors, labels), seed)
      yield {'vector': vector, 'seed': seed, **found, **cost}


def _texts(smoke: bool, way: _Way, split: str) -> list[list[np.ndarray]]:
  """Ids that are read together, for each document.

  Those of its windows, or its first tokens at each of the lengths, as far as
  these differ.
  """
  _, tokenizer, documents = _documents(smoke)
  texts, window = documents[split].texts, _sizes(smoke).window
  if way.reading == 'windows':
    encoded = reading.encode_windows(tokenizer, texts, way.lengths[-1], window)
    return [
      np.split(ids, range(window, len(ids), window)) for ids, _ in encoded
    ]
  if way.reading == 'sentences':
    draw = reading.encode_sentences(tokenizer, texts, window, seed=way.draw)
    return [[ids] for ids, _ in draw(0)]
  found = [tokenizer.encode(texts, max_length=n) for n in way.lengths]
  return [
    [one.ids for one, n in zip(same, (0, *way.lengths)) if len(one.ids) > n]
    for same in zip(*found)
  ]


def _make_encoder(smoke: bool, way: _Way) -> Callable[[np.ndarray], np.ndarray]:
  """Makes a function from [T] ids to the [2, D] vectors of `_VECTORS`."""
  path, tokenizer, _ = _documents(smoke)
  sizes = _sizes(smoke)
  config = common.get_config('classification').bert
  config.attention = way.attention
  config.chunk_size = sizes.chunk_size
  config.num_summaries = sizes.num_summaries
  with warnings.catch_warnings():
    # The pooler of the tiny model, which is not read.
    warnings.filterwarnings('ignore', message='.* start from noise')
    model, params = embedcomp.from_pretrained(
      path,
      attention_fn=attentions.from_config(config),
      max_length=sizes.window if way.reading == 'windows' else way.lengths[-1],
      positions=way.positions,
    )
  params = jax.device_put(params)

  @jax.jit
  def vectors_of(params, ids):
    mask = ids != tokenizer.pad_id
    output = model.apply({'params': params}, ids, mask)
    hidden = output.last_hidden_state
    return jnp.concatenate([masked_mean(hidden, mask), hidden[:, 0]])

  def encode(ids):
    padding = (0, sizes.bucket(len(ids)) - len(ids))
    ids = np.pad(ids, padding, constant_values=tokenizer.pad_id)
    return np.asarray(vectors_of(params, ids[None]))

  return encode


def _read(encode, texts: list[np.ndarray]) -> _Read:
  """Reads texts of a document, one at a time: on a CPU, more take longer."""
  vectors, seconds = [], []
  for text in texts:
    start = time.process_time()
    vectors.append(encode(text))
    seconds.append(time.process_time() - start)
  tokens = [len(text) for text in texts]
  return _Read(np.stack(vectors), np.array(tokens), np.array(seconds))


def summary(rows: Sequence[Row]) -> list[Row]:
  """A row a way, accuracies per cent (mean, deviation over the seeds)."""
  names = 'reading', 'attention', 'length', 'positions', 'windows'
  ways: dict[tuple, list[Row]] = {}
  for row in rows:
    ways.setdefault(tuple(row[name] for name in names), []).append(row)
  return [
    {
      'reading': way if windows is None else f'{way}, {windows}',
      'attention': attention,
      'length': length,
      'positions': positions,
      **{
        f'test, {name}': mean_and_deviation(
          [row['test'] for row in same if row['vector'] == vector], 1
        )
        for vector, name in zip(_VECTORS, ('mean of tokens', 'first token'))
      },
      'tokens': round(np.mean([row['tokens'] for row in same])),
      'core seconds': round(np.mean([row['core_seconds'] for row in same])),
    }
    for (way, attention, length, positions, windows), same in ways.items()
  ]
