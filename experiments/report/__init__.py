r"""Pictures and a page of a run: what was found, what it costs, and how.

  python -m experiments.report WORKDIR

Reads the files of a workdir, whichever are there; see `read`. Pictures go to
`WORKDIR/pictures/`, the page to `WORKDIR/report.html`. It holds its pictures
and needs no other file and no network.
"""

import os
from pathlib import Path

from embedcomp.io.files import write_atomically
from experiments.report import page, pictures, read


def write_report(workdir: str | os.PathLike) -> Path:
  """Writes the pictures and the page of a run, or writes them anew.

  Args:
    workdir: of the run, with a `result.json`.

  Returns:
    The path of the page.

  Raises:
    ImportError: without matplotlib.
    ValueError: naming a file that is missing or damaged, and why.
    OSError: if something cannot be written.
  """
  workdir = Path(workdir)
  run = read.read_run(workdir)
  drawn = pictures.draw(run)
  folder = workdir / 'pictures'
  folder.mkdir(exist_ok=True)
  for picture in drawn:
    write_atomically(folder / f'{picture.name}.png', picture.png)
  for old in folder.glob('*.png'):  # of an earlier report, now without data
    if old.stem not in {picture.name for picture in drawn}:
      old.unlink()
  path = workdir / 'report.html'
  write_atomically(path, page.render(run, drawn).encode())
  return path
