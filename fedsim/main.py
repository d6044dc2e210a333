"""Run a simulation: ``torchrun --nproc_per_node=8 fedsim/main.py [--config FILE] [dotted.key=value ...]``."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

# A script's own folder comes first on sys.path; its parent belongs there, so that `fedsim` is this one.
HERE = Path(__file__).resolve().parent
if not __package__:
    sys.path[:] = [str(HERE.parent), *(entry for entry in sys.path if Path(entry or ".").resolve() != HERE)]

from fedsim.systems import require_posix

require_posix()

from fedsim.standard_streams import keep_standard_streams
from fedsim.stop_request import StopRequest, stop_with_the_launcher

if __name__ == "__main__":  # before the seconds that the other imports take, and before a file is opened
    keep_standard_streams()
    stop_with_the_launcher()

from fedsim.build.compilation import require_compiler
from fedsim.build.components import Components, build_components
from fedsim.build.process import prepare_process
from fedsim.build.rehearsal import rehearse
from fedsim.build.resume import require_plugins, require_run
from fedsim.build.run import open_run
from fedsim.build.without_effect import warn_of_settings_without_effect
from fedsim.cli import CommandLine, help_text, parse_command_line
from fedsim.comm import RankPlace
from fedsim.config.run import parse_config
from fedsim.config.source import apply_overrides, read_yaml
from fedsim.errors import keys_under
from fedsim.failures.handler import EXIT_STATUS, FailureHandler, warnings_as_lines
from fedsim.files import file_name
from fedsim.help_pages import list_text
from fedsim.plugins import load_plugins
from fedsim.records.console import print_text
from fedsim.records.logs import keep_terminal, log_on_terminal
from fedsim.records.summary import closing_message, read_summary
from fedsim.run_directory.plugin_source import PluginSource
from fedsim.run_directory.provenance import Provenance

VALID = "the configuration is valid"


def configure(command: CommandLine, place: RankPlace, plugins: Sequence[PluginSource]) -> Components:
    """The checked components; rank 0 shows notes and warnings, and one rank of each host what that lacks."""
    speaks = place.rank == 0
    values, notes = apply_overrides(read_yaml(command.config), command.overrides)
    config = parse_config(values)
    with warnings_as_lines(notes, speaks=speaks):
        components = build_components(config, plugins)
        warn_of_settings_without_effect(components, values)
        if command.check and speaks:
            with log_on_terminal():
                rehearse(components)
    if speaks:
        with keys_under("model"):
            components.model.check_weights()
    if place.local_rank == 0:
        require_compiler(config.runtime)
    return components


def main(arguments: list[str]) -> int:
    """Exit status: 0 done, 1 failed, 2 a mistake in the configuration, 3 diverged, 75 stopped by a signal.

    Of what only prints, 1 says that the output was lost, as on a full disk; a run does not depend on its terminal.
    """
    with keep_terminal() as terminal:
        return execute(arguments, terminal)


def execute(arguments: list[str], terminal: int) -> int:
    """Parse, check, build, run, close; whatever fails is reported once."""
    stop, failures = StopRequest(), FailureHandler(terminal)
    try:
        place = RankPlace.from_environment()
        failures.rank_is_known(place)
        place.take_own_slice(os.environ)  # before anything asks CUDA
        speaks = place.rank == 0
        command = parse_command_line(arguments)
        plugins = load_plugins(command.plugins, command.plugin_digest)
        if command.directory is not None:
            require_plugins(command.directory, plugins)
        components = configure(command, place, plugins) if not (command.show_help or command.show_list) else None
        if components is None or command.check:
            text = help_text(command.help_topic) if command.show_help else list_text() if command.show_list else VALID
            return print_text(text) if speaks else 0
        if command.resume and not (command.resume_or_start or command.directory) and speaks:
            require_run(components.output_dir, file_name(components.run_name()))
        prepare_process(components)
        provenance = Provenance([*sys.argv[:1], *arguments])
        resume = command.directory or command.resume
        run = open_run(components, place, resume=resume, stop=stop, failures=failures, provenance=provenance)
        with stop.listening():  # until here a signal ends the process at once, and nothing is lost
            status = run.simulation.run()
            run.close(status)
    except BaseException as error:
        return failures.handle(error)
    if speaks and status == "completed":
        print_text(closing_message(read_summary(run.directory), run.facts, run.directory))
    elif speaks:
        failures.run_ends_early(status, run.simulation.done, run.simulation.divergence)
    return EXIT_STATUS[status]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
