"""The built-in data sets as builders of TensorFlow Datasets.

They are written in the `array_record` format and read as a data source, so
that TensorFlow is not needed. Importing this module registers them.
"""

import os
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from embedcomp.data.datasets import corpora

_TOPIC_CITATION = """@phdthesis{cardoso2007improving,
  title={Improving Methods for Single-label Text Categorization},
  author={Cardoso-Cachopo, Ana},
  school={Instituto Superior T{\\'e}cnico, Universidade T{\\'e}cnica de Lisboa},
  year={2007}
}"""
_MOVIE_CITATION = """@inproceedings{hutto2014vader,
  title={{VADER}: A Parsimonious Rule-based Model for Sentiment Analysis of
    Social Media Text},
  author={Hutto, Clayton and Gilbert, Eric},
  booktitle={ICWSM},
  year={2014}
}"""


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Train and test split of labelled texts.

  Args:
    cache_dir: where fetched packages are kept.
    **kwargs: as for every builder.
  """

  VERSION = tfds.core.Version('1.0.0')

  def __init__(self, *, cache_dir: str | os.PathLike | None = None, **kwargs):
    self._cache_dir = cache_dir
    super().__init__(**kwargs)

  def _split_generators(self, dl_manager):
    del dl_manager  # pip fetches the texts, and `sources` checks them
    return {split: self._generate_examples(split) for split in corpora.SPLITS}


class _Topics(_Builder, skip_registration=True):
  """Documents with a topic each."""

  def _info(self) -> tfds.core.DatasetInfo:
    features = {
      'text': tfds.features.Text(),
      'label': tfds.features.ClassLabel(),
    }
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(features),
      supervised_keys=('text', 'label'),
      homepage='https://ana.cachopo.org/',
      citation=_TOPIC_CITATION,
    )

  def _split_generators(self, dl_manager):
    # Known only now: what is prepared is read without fetching its source.
    documents = corpora.topic_documents(self.name, 'train', self._cache_dir)
    self.info.features['label'].names = sorted(
      {label for label, _ in documents}
    )
    return super()._split_generators(dl_manager)

  def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
    documents = corpora.topic_documents(self.name, split, self._cache_dir)
    for number, (label, text) in enumerate(documents):
      yield number, {'text': text, 'label': label}


class Newsgroups(_Topics):
  """20 Newsgroups, split by date: 11,293 and 7,528 documents, 20 labels."""


class R8(_Topics):
  """Reuters-21578, 8 labels: 5,485 and 2,189 documents."""


class R52(_Topics):
  """Reuters-21578, 52 labels: 6,532 and 2,568 documents."""


class MovieReviews(_Builder):
  """Sentences of movie reviews, negative or positive; with mean ratings."""

  def _info(self) -> tfds.core.DatasetInfo:
    features = {
      'text': tfds.features.Text(),
      'label': tfds.features.ClassLabel(names=['negative', 'positive']),
      'sentiment': tfds.features.Scalar(np.float32),
    }
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(features),
      supervised_keys=('text', 'label'),
      homepage='https://github.com/cjhutto/vaderSentiment',
      citation=_MOVIE_CITATION,
    )

  def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
    sentences = corpora.movie_sentences(split, self._cache_dir)
    for number, (rating, text) in enumerate(sentences):
      label = 'positive' if rating > 0 else 'negative'
      yield number, {'text': text, 'label': label, 'sentiment': rating}


BUILDERS = {
  builder.name: builder for builder in (Newsgroups, R8, R52, MovieReviews)
}
