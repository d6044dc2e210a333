#!/usr/bin/env bash
# TensorBoard of the runs, on this machine only.
set -euo pipefail

if [ "${1:-}" = --help ] || [ "${1:-}" = -h ]; then
    cat <<'TEXT'
launch/tensorboard.sh [FOLDER] [PORT]

Shows the runs in FOLDER (default: runs) at http://localhost:PORT (default: 6006), to this machine only. From elsewhere:

  ssh -L PORT:localhost:PORT this-machine     and then open http://localhost:PORT there

The same by hand:

  tensorboard --logdir FOLDER --host localhost --port PORT
TEXT
    exit 0
fi

exec tensorboard --logdir "${1:-runs}" --host localhost --port "${2:-6006}"
