"""Dynamic programming against trying every division."""

import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from embedcomp.compression import dynamic_program


def every_division(segments, num_bins, max_groups, fixed_bytes):
  """Yields (bytes, loss) of all divisions, by recursion over first groups."""

  def rest(start, groups):
    if start == num_bins:
      yield groups, 0, 0.0
    for segment in segments:
      if segment.start != start or groups == max_groups:
        continue
      for size, loss in zip(segment.num_bytes, segment.losses):
        if size >= 0:
          for total, more_bytes, more_loss in rest(segment.stop, groups + 1):
            yield total, size + more_bytes, loss + more_loss

  for groups, num_bytes, loss in rest(0, 0):
    yield num_bytes + fixed_bytes(groups), loss


@st.composite
def problems(draw):
  num_bins = draw(st.integers(1, 4))
  num_options = draw(st.integers(1, 3))
  segments = [
    dynamic_program.Segment(
      start,
      stop,
      np.array(
        draw(
          st.lists(
            st.integers(-1, 9), min_size=num_options, max_size=num_options
          )
        )
      ),
      np.array(
        draw(
          st.lists(
            st.integers(0, 50), min_size=num_options, max_size=num_options
          )
        ),
        float,
      ),
    )
    for start, stop in itertools.combinations(range(num_bins + 1), 2)
  ]
  return segments, num_bins, draw(st.integers(1, 4)), draw(st.integers(1, 60))


def bits_for_groups(num_groups):
  return 2 * (num_groups - 1)


@hypothesis.given(problems())
def test_equals_brute_force(problem):
  segments, num_bins, max_groups, budget = problem
  divisions = list(
    every_division(segments, num_bins, max_groups, bits_for_groups)
  )
  affordable = [d for d in divisions if d[0] <= budget]
  arguments = {'max_groups': max_groups, 'fixed_bytes': bits_for_groups}
  if not affordable:
    with pytest.raises(ValueError, match=r'nothing fits|no division'):
      dynamic_program.solve(segments, num_bins, budget, **arguments)
    return
  table = dynamic_program.solve(segments, num_bins, budget, **arguments)
  best = table.best(budget)
  by_ends = {(s.start, s.stop): s for s in segments}
  chosen = [by_ends[c.start, c.stop] for c in best]
  size = sum(s.num_bytes[c.option] for s, c in zip(chosen, best))
  loss = sum(s.losses[c.option] for s, c in zip(chosen, best))
  assert size + bits_for_groups(len(best)) <= budget
  assert loss == min(d[1] for d in affordable)
  assert table.losses[budget] == loss
  assert [c.start for c in best] == [0, *(c.stop for c in best[:-1])]
  smallest, _ = dynamic_program.smallest_division(
    segments, num_bins, max_groups, bits_for_groups
  )
  assert smallest == min(d[0] for d in divisions)


@hypothesis.given(problems(), st.integers(3, 10))
def test_coarse_sizes_stay_within_budget(problem, num_sizes):
  segments, num_bins, max_groups, budget = problem
  scaled = [
    dynamic_program.Segment(
      s.start, s.stop, np.where(s.num_bytes < 0, -1, s.num_bytes * 7), s.losses
    )
    for s in segments
  ]
  budget *= 7
  try:
    smallest, _ = dynamic_program.smallest_division(
      scaled, num_bins, max_groups
    )
  except ValueError:
    return  # no division at all
  budget = max(budget, smallest)  # even the tightest one has an answer
  table = dynamic_program.solve(
    scaled, num_bins, budget, max_groups=max_groups, num_sizes=num_sizes
  )
  best = table.best(budget)
  by_ends = {(s.start, s.stop): s for s in scaled}
  size = sum(by_ends[c.start, c.stop].num_bytes[c.option] for c in best)
  assert size <= budget


def test_names_the_smallest_choice():
  segment = dynamic_program.Segment(
    0, 1, np.array([5, 9]), np.array([2.0, 1.0])
  )
  with pytest.raises(ValueError, match='smallest choice takes 5 bytes'):
    dynamic_program.solve([segment], 1, 4, max_groups=1)


def test_impossible_division():
  segment = dynamic_program.Segment(0, 1, np.array([-1]), np.array([2.0]))
  with pytest.raises(ValueError, match='no division of 1 bins'):
    dynamic_program.solve([segment], 1, 4, max_groups=1)


def halves(first, second):
  """Two bins that cannot be one group: bytes and losses of their options."""
  return [
    dynamic_program.Segment(start, start + 1, np.array(sizes), np.array(losses))
    for start, (sizes, losses) in enumerate((first, second))
  ]


def test_the_smallest_division_is_found_where_rounding_hides_it():
  segments = halves(([3, 9], [5.0, 1.0]), ([3, 9], [5.0, 1.0]))
  # Rounded up to units of two bytes, six bytes are eight.
  found = dynamic_program.solve(segments, 2, 6, max_groups=2, num_sizes=3)
  assert found.unit == 2
  assert np.isinf(found.losses).all()
  best = found.best(6)
  assert [(c.start, c.stop, c.option) for c in best] == [(0, 1, 0), (1, 2, 0)]
  with pytest.raises(ValueError, match=r'into 5 bytes: .* takes 6'):
    found.best(5)


def test_numbers_of_groups_that_cost_too_much_are_left_out():
  whole = dynamic_program.Segment(0, 2, np.array([4]), np.array([9.0]))
  segments = [*halves(([1], [1.0]), ([1], [1.0])), whole]
  found = dynamic_program.solve(
    segments, 2, 8, max_groups=2, fixed_bytes=lambda groups: (groups - 1) * 50
  )
  assert [(c.start, c.stop) for c in found.best(8)] == [(0, 2)]
  cheap = dynamic_program.solve(
    segments, 2, 8, max_groups=2, fixed_bytes=lambda groups: (groups - 1) * 6
  )
  assert [(c.start, c.stop) for c in cheap.best(8)] == [(0, 1), (1, 2)]
  assert [(c.start, c.stop) for c in cheap.best(7)] == [(0, 2)]
  assert cheap.best(10**9) == cheap.best(8)
  with pytest.raises(ValueError, match='nothing fits into -1 bytes'):
    cheap.best(-1)
  # Twelve of nine sizes: nothing of two groups is in reach.
  dear = dynamic_program.solve(
    segments, 2, 8, max_groups=2, fixed_bytes=lambda groups: (groups - 1) * 12
  )
  assert [(c.start, c.stop) for c in dear.best(8)] == [(0, 2)]


def test_of_options_for_nothing_the_better_one_is_chosen():
  segment = dynamic_program.Segment(
    0, 1, np.array([0, 0]), np.array([2.0, 1.0])
  )
  found = dynamic_program.solve([segment], 1, 0, max_groups=1)
  assert found.best(0) == [dynamic_program.Choice(0, 1, 1)]


def test_the_smallest_division_does_not_depend_on_the_order_of_segments():
  sizes = {(0, 1): 1, (0, 2): 9, (1, 3): 2, (2, 3): 9}
  segments = [
    dynamic_program.Segment(*ends, np.array([size]), np.array([0.0]))
    for ends, size in sizes.items()
  ]
  for order in (segments, segments[::-1]):
    num_bytes, choices = dynamic_program.smallest_division(order, 3, 2)
    assert num_bytes == 3
    assert [(c.start, c.stop) for c in choices] == [(0, 1), (1, 3)]
