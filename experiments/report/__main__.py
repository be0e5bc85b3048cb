"""`python -m experiments.report WORKDIR`."""

import argparse
import sys
from collections.abc import Sequence

from experiments.report import write_report


def main(argv: Sequence[str] | None = None) -> None:
  """Writes the reports of the workdirs that the command line names."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.report',
    description='Draws what a run has found, and writes a page about it.',
  )
  parser.add_argument('workdirs', nargs='+', metavar='WORKDIR')
  for workdir in parser.parse_args(argv).workdirs:
    try:
      print(write_report(workdir))
    except (ValueError, ImportError, OSError) as error:
      sys.exit(f'error: {error}')


if __name__ == '__main__':
  main()
