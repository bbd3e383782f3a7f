"""The command ``compare``: what a set of runs comes to, as text, CSV, figure and page."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from simple_dqn.analysis.comparison import compare as compare_runs
from simple_dqn.analysis.comparison_figure import figure_png
from simple_dqn.analysis.comparison_page import page_html
from simple_dqn.analysis.comparison_text import csv_of, text_of
from simple_dqn.analysis.study import OUTPUT, read_study
from simple_dqn.errors import UsageError
from simple_dqn.options.command_options import CompareOptions
from simple_dqn.storage.files import require_place, write_atomically

logger = logging.getLogger(__name__)


def compare(paths: Sequence[Path], options: CompareOptions) -> None:
    """Compare runs; print the tables and write CSV, PNG and HTML.

    Raises:
        UsageError: a file is missing or damaged, there is nothing to compare, or a result cannot be
            written.
    """
    targets = {kind: Path(f"{options.comparison_file}.{kind}") for kind in ("csv", "png", "html")}
    if not os.path.basename(options.comparison_file):
        raise UsageError(f"--comparison_file '{options.comparison_file}' has no name of a file")
    comparison = compare_runs(read_study(paths), options.normalize)
    _require_own(targets)
    for target in targets.values():
        require_place(target, "comparison_file")
    print(text_of(comparison), end="", flush=True)
    title = f"Comparison: {', '.join(comparison.labels)}"
    write_atomically(targets["csv"], csv_of(comparison).encode())
    write_atomically(targets["png"], figure_png(comparison))
    html = page_html(comparison, title, targets["html"].absolute().parent)
    write_atomically(targets["html"], html.encode(errors="replace"))
    logger.info("wrote %s", ", ".join(map(str, targets.values())))


def _require_own(targets: Mapping[str, Path]) -> None:
    """Raise UsageError for an existing file that no comparison has written.

    The CSV file is written first, so figure and page without it are of something else.
    """
    table = targets["csv"]
    own = table.is_file() and table.read_text(errors="replace").startswith(OUTPUT)
    for path in targets.values():
        if path.exists() and not own:
            raise UsageError(f"'{path}' is not of a comparison: give another --comparison_file")
