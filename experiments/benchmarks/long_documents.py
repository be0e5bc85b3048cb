"""A frozen MiniLM-L6 on documents of more than 512 pieces, read in many ways.

The documents are those of 20 Newsgroups, 1,234 for training and 813 for
testing. The encoder reads all of them once in each way; linear classifiers
learn from the vectors that come out, one for each seed. The seed also says
which tenth of the training documents the best step is selected by, and which
sentences are drawn. Seconds are those of reading; of windows, which are read
once for all lengths, the share that their tokens have in it.

Positions beyond 512 are tiled, which suits weights that stay as they are; the
longest texts are read with interpolated ones, too.

`long_newsgroups` is the same with layers that are trained.
"""

import dataclasses
import functools
import itertools
import time
import warnings
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

import embedcomp
from configs import common
from embedcomp import data as data_lib
from embedcomp.data import reading
from embedcomp.nn.classifiers import masked_mean
from embedcomp.progress import track
from experiments.benchmarks import linear_probe, long_training
from experiments.problems import attentions, tiny_bert
from experiments.record import Job, Row

SEEDS = 3
_SPLITS = ('train', 'test')
_VECTORS = ('mean', 'first')  # of all tokens' final states, of the first one's
_POOLS = ('mean', 'max')  # of windows; a mean counts each by its tokens


@dataclasses.dataclass(frozen=True)
class _Sizes:
  """How large everything is.

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
    length: tokens.
    positions: how there come to be so many; as in `configs/common.py`.
    draw: of sentences.
  """

  reading: str
  attention: str
  length: int
  positions: str = 'tiled'
  draw: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class _Read:
  """What came of the documents of a split.

  Attributes:
    vectors: of each document, [W, 2, D] for the `_VECTORS` of each window.
    tokens: of each document, [W].
    labels: [N].
  """

  vectors: list[np.ndarray]
  tokens: list[np.ndarray]
  labels: np.ndarray

  def pooled(
    self, most: int, pool: str, vector: str
  ) -> tuple[np.ndarray, np.ndarray]:
    """[N, D] one vector for so many windows of each document, and labels."""
    number = _VECTORS.index(vector)
    pooled = []
    for vectors, tokens in zip(self.vectors, self.tokens):
      chosen = vectors[:most, number]  # [W, D]
      if pool == 'mean':
        pooled.append(np.average(chosen, axis=0, weights=tokens[:most]))
      else:
        pooled.append(chosen.max(axis=0))
    return np.stack(pooled), self.labels

  def num_tokens(self, most: int | None = None) -> int:
    """Tokens of so many windows of each document, or of all."""
    return int(sum(tokens[:most].sum() for tokens in self.tokens))


def jobs(*, smoke: bool, seeds: int) -> Sequence[Job]:
  """One job for each way to read; those that take long stand at the end.

  Args:
    smoke: whether to use a tiny BERT of random weights and made-up texts.
    seeds: classifiers for each way.
  """
  sizes = _sizes(smoke)
  longest = sizes.lengths[-1]
  ways = [_Way('first', 'dense', sizes.window)]
  ways += [
    _Way('sentences', 'dense', sizes.window, draw=n) for n in range(seeds)
  ]
  ways += [_Way('windows', 'dense', longest)]
  ways += [
    _Way('first', attention, length)
    for length in sizes.lengths
    for attention in ('recursive', 'sliding_window', 'dense')
  ]
  ways.insert(-1, _Way('first', 'local', longest))
  ways.insert(-1, _Way('first', 'recursive', longest, 'interpolated'))
  return [
    Job(
      ' '.join(str(part) for part in dataclasses.astuple(way)),
      functools.partial(_run, smoke, way, seeds),
    )
    for way in ways
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
  windows = [_windows(smoke, way, split) for split in _SPLITS]
  encode = _make_encoder(smoke, way)
  every = itertools.chain(*itertools.chain(*windows))
  for size in {sizes.bucket(len(ids)) for ids in every}:
    encode(np.ones(size, np.int32))  # compiles, which is not counted
  wall, cpu = time.perf_counter(), time.process_time()
  read = [
    _read(encode, texts, _documents(smoke)[2][split].labels)
    for split, texts in zip(_SPLITS, windows)
  ]
  spent = {
    'seconds': time.perf_counter() - wall,
    'cpu_seconds': time.process_time() - cpu,
  }
  in_windows = way.reading == 'windows'
  cases = itertools.product(
    sizes.lengths if in_windows else (way.length,),
    _POOLS if in_windows else ('mean',),
    _VECTORS,
    range(seeds) if way.draw is None else (way.draw,),
  )
  rows = []
  for length, pool, vector, seed in cases:
    most = length // sizes.window if in_windows else 1
    tokens = sum(split.num_tokens(most) for split in read)
    share = tokens / sum(split.num_tokens() for split in read)
    vectors = [split.pooled(most, pool, vector) for split in read]
    rows.append(
      {
        'reading': way.reading,
        'attention': way.attention,
        'length': length,
        'positions': way.positions,
        'windows': pool if in_windows else None,
        'vector': vector,
        'seed': seed,
        **linear_probe.accuracies(*vectors, seed),
        'tokens': tokens,
        **{name: share * value for name, value in spent.items()},
      }
    )
  return rows


def _windows(smoke: bool, way: _Way, split: str) -> list[list[np.ndarray]]:
  """Ids that are read together, of each document; but for windows, all."""
  _, tokenizer, documents = _documents(smoke)
  texts, step = documents[split].texts, way.length
  if way.reading == 'sentences':
    draw = reading.encode_sentences(tokenizer, texts, step, seed=way.draw)
    encoded = draw(0)
  elif way.reading == 'windows':
    step = _sizes(smoke).window
    encoded = reading.encode_windows(tokenizer, texts, way.length, step)
  else:
    encoded = tokenizer.encode(texts, max_length=step)
  return [np.split(ids, range(step, len(ids), step)) for ids, _ in encoded]


def _make_encoder(smoke: bool, way: _Way) -> Callable[[np.ndarray], np.ndarray]:
  """What takes [T] ids to the [2, D] vectors of `_VECTORS`."""
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
      max_length=sizes.window if way.reading == 'windows' else way.length,
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


def _read(encode, texts: list[list[np.ndarray]], labels: np.ndarray) -> _Read:
  """Reads documents, one window at a time: on a CPU, more take longer."""
  return _Read(
    [
      np.stack([encode(window) for window in windows])
      for windows in track(texts, 'reading', unit='document')
    ],
    [np.array([len(window) for window in windows]) for windows in texts],
    labels,
  )


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
        f'test, {name}': long_training.accuracy(
          [row for row in same if row['vector'] == vector]
        )
        for vector, name in zip(_VECTORS, ('mean of tokens', 'first token'))
      },
      'tokens': round(np.mean([row['tokens'] for row in same])),
      'seconds': round(np.mean([row['seconds'] for row in same])),
    }
    for (way, attention, length, positions, windows), same in ways.items()
  ]
