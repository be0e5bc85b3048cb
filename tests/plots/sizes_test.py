"""Bars of sizes of schemes whose groups share something."""

from embedcomp import Group, Scheme, methods, plots


def test_bars_of_sizes_are_all_bytes_and_what_is_shared_once():
  first = methods.GradedCodes(3, '1x1+1x2', 16, 'int8', 'int8')
  second = methods.GradedCodes(3, '1x1', 2, 'int8', 'int8')
  scheme = Scheme(8, (Group(90, first), Group(7, second)), order='stored')
  ax = plots.plot_sizes(scheme)
  widths = [bar.get_width() for bar in ax.patches]
  assert sum(widths) == scheme.num_bytes
  labels = [label.get_text() for label in ax.get_yticklabels()]
  assert labels[2:] == ['shared axes\nall words', 'order map\nall words']
  assert all(len(label.split('\n')[0]) <= 48 for label in labels)
