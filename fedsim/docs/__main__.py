"""``python -m fedsim.docs`` writes the pages of ``docs/`` that describe what is there; ``--check`` compares them."""

import sys

from fedsim.systems import require_posix

require_posix()

from fedsim.docs.components import PARTITIONS
from fedsim.docs.pages import DOCS, pages
from fedsim.docs.partition_pictures import draw_pictures, missing_pictures
from fedsim.files import write_text
from fedsim.parsers import Parser
from fedsim.records.console import print_text
from fedsim.standard_streams import keep_standard_streams


def main(arguments: list[str]) -> int:
    """Exit status: 0 written, or current; 2 outside a clone.

    With ``--check``, it is 1 where a page is not current or a picture is missing.
    """
    parser = Parser(prog="python -m fedsim.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is not current")
    check = parser.parse_args(arguments).check
    if not DOCS.is_dir():
        sys.stderr.write("fedsim: the pages are not part of the installed package; run this in a clone\n")
        return 2
    stale = []
    for name, text in pages(DOCS / "benchmarks").items():
        path = DOCS / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                write_text(path, text)
    stale += missing_pictures(DOCS / PARTITIONS) if check else draw_pictures(DOCS / PARTITIONS)
    if stale:
        print_text(f"{'not current' if check else 'written'}: {', '.join(stale)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    keep_standard_streams()
    sys.exit(main(sys.argv[1:]))
