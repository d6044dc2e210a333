"""What a program imports: nothing that takes seconds and is not used."""

import json
import subprocess
import sys
from pathlib import Path

from support.launch import ROOT, clean_environment
from support.runs import RUN

COMPILER = ("torch._dynamo", "torch._inductor", "sympy", "triton")

SLOW = (*COMPILER, "torchvision", "timm", "matplotlib", "sklearn", "scipy", "pandas", "wandb", "mlflow")
"""Each takes from a fifth of a second to two seconds."""

PROGRAM = """
import json, sys
from fedsim.main import main
for arguments in json.loads(sys.argv[1]):
    assert main(arguments) == 0
imported = {name for name in sys.modules if name.startswith(tuple(json.loads(sys.argv[2])))}
sys.stderr.write("imported: " + " ".join(sorted(imported)))
"""

COMMANDS = [
    ["--help"],
    ["--list"],
    ["--check"],
    [*RUN, "rounds=2"],
    [
        *RUN,
        "rounds=1",
        "model={name: mlp}",
        "clients.vectorize=4",
        "clients.clip_norm=1.0",
        "clients.optimizer={name: adamw, lr: 0.01}",
        "server.optimizer={name: fedadam}",
    ],
]


def test_what_compiles_nothing_does_not_import_the_compiler(tmp_path: Path) -> None:
    commands = json.dumps([[*command, f"output_dir={tmp_path}"] for command in COMMANDS])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, commands, json.dumps(SLOW)],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("imported: ")
