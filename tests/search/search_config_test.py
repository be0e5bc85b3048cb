"""Plans of a search that cannot be are refused when they are made."""

import numpy as np
import pytest

from embedcomp import search
from embedcomp.compression.space import SearchSpace


@pytest.mark.parametrize(
  ('fields', 'reason'),
  [
    ({'order': 'alphabet'}, "order must be one of .* got 'alphabet'"),
    ({'options': 'some'}, "options must be one of .* got 'some'"),
    ({'num_bins': 2.0}, 'num_bins must be an int from 1 on, got 2.0'),
    ({'prior': 0.0}, 'prior must be positive, got 0.0'),
    ({'by_counts': 1.5}, r'by_counts must be in \[0, 1\], got 1\.5'),
    ({'discretize': 'argmax'}, "needs score='learned'"),
    ({'score': 'prior'}, "set carry='dense'"),
    ({'options': 'contextual'}, "needs score='prior'"),
    ({'start': 'noise'}, "needs order='frequency'"),
  ],
)
def test_plans_that_make_no_sense_are_refused(fields, reason):
  with pytest.raises(ValueError, match=reason):
    search.SearchConfig(**fields)


@pytest.mark.parametrize(
  'fields',
  [
    {'num_bins': 1, 'max_groups': 1, 'smallest_bin': 1},
    {'measured_batches': 1, 'refresh_every': 1},
    {'by_counts': 0.0},
    {'by_counts': 1.0},
    {'discretize': 'argmax', 'score': 'learned'},
    {'score': 'prior', 'carry': 'dense', 'options': 'contextual'},
    {'start': 'noise', 'order': 'frequency', 'score': 'learned'},
  ],
)
def test_plans_at_the_ends_of_what_makes_sense_are_made(fields):
  config = search.SearchConfig(**fields)
  assert {name: getattr(config, name) for name in fields} == fields


@pytest.mark.parametrize(
  'field',
  [
    'measured_batches',
    'num_bins',
    'smallest_bin',
    'max_groups',
    'refresh_every',
  ],
)
def test_there_is_no_plan_of_nothing(field):
  with pytest.raises(ValueError, match=f'{field} must be an int from 1 on'):
    search.SearchConfig(**{field: 0})


@pytest.mark.parametrize(
  'fields',
  [{'order': 'sensitivity'}, {'score': 'both'}, {'carry': 'dense'}],
)
def test_noise_has_nothing_to_measure_or_to_carry(fields):
  noise = {'start': 'noise', 'order': 'frequency', 'score': 'learned'}
  with pytest.raises(ValueError, match="start='noise' needs"):
    search.SearchConfig(**(noise | fields))


def test_a_plan_learns_splits_unless_told_otherwise():
  assert search.SearchConfig().learn_splits
  assert not search.SearchConfig(learn_splits=False).learn_splits


@pytest.mark.parametrize(
  'fields', [{'num_steps': -1}, {'num_steps': 2.0}, {'learning_rate': 0.0}]
)
def test_finetuning_that_makes_no_sense_is_refused(fields):
  with pytest.raises(ValueError, match=next(iter(fields))):
    search.Finetuning(**fields)


def test_a_table_has_options_with_no_more_codewords_than_words():
  config = search.SearchConfig(smallest_bin=8)
  assert {16, 64} == {
    option.codewords
    for option in config.options_for(1000, 8)
    if hasattr(option, 'codewords')
  }
  small = config.options_for(100, 8)
  assert {getattr(option, 'codewords', 16) for option in small} == {16}


@pytest.mark.parametrize('options', ['all', 'low_rank', 'precision'])
def test_the_smallest_size_is_that_of_one_option_for_all(options):
  config = search.SearchConfig(options=options)
  found = config.options_for(200, 8)
  space = SearchSpace(8, (0, 100, 200), found, max_groups=2)
  smallest = config.smallest_bytes(200, 8)
  segments = space.segments(np.zeros((2, len(found))))
  assert space.solve(segments, smallest).best(smallest)
  with pytest.raises(ValueError, match='nothing fits'):
    space.solve(segments, smallest - 1)
