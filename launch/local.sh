#!/usr/bin/env bash
# fedsim on this machine.
set -euo pipefail

usage() {
    cat <<'TEXT'
launch/local.sh [--ranks N] [--restarts N] [--dry-run] [arguments of fedsim ...]

Runs fedsim on this machine, on one rank per GPU, or per core where there is none or runtime.device=cpu, and at most
one per client. If a rank dies, the run is started again and goes on from its newest checkpoint.

  --ranks N      how many ranks (default: the GPUs, else the cores; at most the clients)
  --restarts N   how often it is started again after a failure (default 3)
  --dry-run      say what would be typed, and stop

The same by hand:

  torchrun --standalone --local-addr=127.0.0.1 --nproc_per_node=N --max-restarts=3 fedsim/main.py [arguments of fedsim ...]
TEXT
}

# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
ranks=''
restarts=3
run=()

while [ $# -gt 0 ]; do
    case $1 in
        --ranks) ranks=${2:?--ranks needs a number}; shift 2 ;;
        --restarts) restarts=${2:?--restarts needs a number}; shift 2 ;;
        --dry-run) run=(echo); shift ;;
        --help | -h) usage; exit 0 ;;
        *) break ;;
    esac
done

if [ ${#run[@]} -eq 0 ]; then check "$@"; fi
if [ -z "$ranks" ]; then ranks=$(default_ranks 1 "$@"); fi

# fedsim sets the threads of each rank itself; without this, torchrun says that it does so.
export OMP_NUM_THREADS=1
exec "${run[@]}" torchrun --standalone --local-addr=127.0.0.1 --nproc_per_node="$ranks" --max-restarts="$restarts" "$home/fedsim/main.py" "$@"
