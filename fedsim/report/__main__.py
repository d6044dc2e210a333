"""Report on runs and sweeps: ``python -m fedsim.report DIRECTORY...``; see ``--help``."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fedsim.systems import require_posix

require_posix()

from fedsim.standard_streams import keep_standard_streams

if __name__ == "__main__":
    keep_standard_streams()  # before a file is opened

from fedsim.errors import ConfigError, counted, escaped
from fedsim.files import user_path, write_for_nobody_else
from fedsim.parsers import Parser
from fedsim.plugins import load_plugins
from fedsim.records.console import print_text
from fedsim.report.page import write_report
from fedsim.report.scores import Score, metrics_of
from fedsim.report.study import Study, read_study

MISTAKE = 2


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 the report is written, 2 a mistake."""
    options = _parser().parse_args(arguments)
    write_for_nobody_else()
    try:
        load_plugins(options.plugin)
        study = read_study(options.directories)
        if options.list:
            return print_text("\n".join(metrics_of(study)))
        score, folder = Score(options.metric, options.at), _folder(options)
        page = write_report(study, score, folder, _typed(arguments), options.reference)
    except ConfigError as error:
        sys.stderr.write(f"fedsim: configuration error: {error}\n")
        return MISTAKE
    except OSError as error:
        where = escaped(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        sys.stderr.write(f"fedsim: the report cannot be written: {where}\n")
        return MISTAKE
    return print_text(f"{_summary(study)}\nreport: {page}\nfigures and tables beside it: {page.parent}")


def _parser() -> Parser:
    parser = Parser(prog="python -m fedsim.report", description=__doc__)
    parser.add_argument(
        "directories", nargs="+", metavar="DIRECTORY", help="of a sweep, of a run, or that holds some"
    )
    parser.add_argument("--metric", default="accuracy", help="what runs are judged by (default: accuracy)")
    parser.add_argument("--at", default="final", help="final (default), best, or last:N, the mean of N evaluations")
    parser.add_argument(
        "--reference", metavar="LABEL", help="aggregator that the others are compared with (default: the best)"
    )
    parser.add_argument(
        "--to", metavar="FOLDER", help="where to (default: the folder `report` in the first DIRECTORY)"
    )
    parser.add_argument("--list", action="store_true", help="list what the runs may be judged by, and stop")
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE", help="that the runs were given")
    return parser


def _folder(options: argparse.Namespace) -> Path:
    return (
        user_path(options.directories[0], "DIRECTORY") / "report"
        if options.to is None
        else user_path(options.to, "--to")
    )


def _typed(arguments: Sequence[str]) -> str:
    return shlex.join(["python", "-m", "fedsim.report", *arguments])


def _summary(study: Study) -> str:
    done = sum(entry.state == "done" for entry in study.entries)
    return f"{counted(len(study.entries), 'run')}, {done} of them done"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
