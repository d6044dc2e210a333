"""``python -m fedsim.prepare NAME --root FOLDER``: fetch, check and decode a data set, so that no run has to."""

import sys
import warnings

from fedsim.systems import require_posix

require_posix()

from fedsim.standard_streams import keep_standard_streams

if __name__ == "__main__":
    keep_standard_streams()  # before a file is opened

from fedsim.config.source import apply_overrides
from fedsim.data.sources import sources
from fedsim.data.storage.cache import cache_folder, is_lasting
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.files import user_path, write_for_nobody_else
from fedsim.parsers import QuietParser
from fedsim.plugins import load_plugins
from fedsim.records.console import print_text
from fedsim.records.logs import log_on_terminal

MISTAKE = 2


def main(arguments: list[str]) -> int:
    """Exit status: 0 the data set is ready, 2 it is missing or damaged."""
    parser = QuietParser(prog="python -m fedsim.prepare", description=__doc__)
    parser.add_argument("name", help="data set: " + ", ".join(sources.describe()))
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE", help="data sets of yours")
    parser.add_argument("--root", help="folder of its files (data.root of a config)")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings of the data set (see --list)")
    write_for_nobody_else()
    try:
        parsed = parser.parse_intermixed_args(arguments)
        load_plugins(parsed.plugin)
        settings, _ = apply_overrides({}, parsed.settings)
        if "name" in settings:
            raise ConfigError("name", f"the data set is {parsed.name}", "leave name=... out")
        source = sources.build(parsed.name, **settings)
        root = None if parsed.root is None else user_path(parsed.root, "--root")
        with log_on_terminal(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", FedsimWarning)
            splits = source.prepare(root)
    except (ConfigError, OSError) as error:
        sys.stderr.write(f"fedsim: {error}\n")
        return MISTAKE
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        sys.stderr.write(f"fedsim: warning: {text}\n")
    size = " x ".join(map(str, splits.input_shape)) + ("" if splits.one_size else " and larger")
    where = f"decoded in {cache_folder()}" if is_lasting() else "every run decodes it again"
    print_text(
        f"{source.name} is ready: {len(splits.train)} samples to train, {len(splits.test)} to test, "
        f"{splits.num_classes} classes, {size}; {where}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
