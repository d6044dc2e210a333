#!/usr/bin/env bash
# fedsim on several hosts, without a scheduler.
set -euo pipefail

usage() {
    cat <<'TEXT'
launch/multinode.sh --nodes N --at HOST[:PORT] [--ranks N] [--id NAME] [--restarts N] [--dry-run] [arguments of fedsim ...]

Type the same line on each of N hosts, in any order:

  node1$ launch/multinode.sh --nodes 2 --at node1 --ranks 4 --config configs/eurosat_deit_small.yaml
  node2$ launch/multinode.sh --nodes 2 --at node1 --ranks 4 --config configs/eurosat_deit_small.yaml

How they find each other (the rendezvous): torchrun on the host named by --at listens at PORT; the others connect to it
and wait until N hosts have come with the same --id. They agree on who has which ranks; rank 0 need not be on that
host. Then the ranks connect to each other at ports of their own choice, so the hosts must reach each other at any port.

  --nodes N      how many hosts take part
  --at HOST      one of them, by a name or address that all of them reach (port 29400 if none is given)
  --ranks N      how many ranks on this host (default: its GPUs, else its cores; at most its share of the clients)
  --id NAME      distinguishes this launch from others at the same port (default: fedsim)
  --restarts N   how often it is started again after a failure (default 3)
  --dry-run      say what would be typed, and stop

All hosts need this repository, its Python environment and the data in the same places, and output_dir on a file system
that they share. Where a host has several networks, GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME name the interface to use.

The same by hand:

  TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 torchrun --nnodes=N --nproc_per_node=R --rdzv-backend=c10d \
      --rdzv-endpoint=HOST:29400 --rdzv-id=NAME --max-restarts=3 fedsim/main.py [arguments of fedsim ...]
TEXT
}

# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
nodes='' at='' ranks='' id=fedsim restarts=3
run=()

while [ $# -gt 0 ]; do
    case $1 in
        --nodes) nodes=${2:?--nodes needs a number}; shift 2 ;;
        --at) at=${2:?--at needs a host}; shift 2 ;;
        --ranks) ranks=${2:?--ranks needs a number}; shift 2 ;;
        --id) id=${2:?--id needs a name}; shift 2 ;;
        --restarts) restarts=${2:?--restarts needs a number}; shift 2 ;;
        --dry-run) run=(echo); shift ;;
        --help | -h) usage; exit 0 ;;
        *) break ;;
    esac
done

if [ -z "$nodes" ] || [ -z "$at" ]; then
    echo 'multinode.sh: --nodes and --at are needed; see --help' >&2
    exit 2
fi
case $at in *:*) ;; *) at=$at:29400 ;; esac

if [ ${#run[@]} -eq 0 ]; then check "$@"; fi
if [ -z "$ranks" ]; then ranks=$(default_ranks "$nodes" "$@"); fi

# A store of its own for every attempt: in a shared one the new ranks find the addresses of the dead.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 OMP_NUM_THREADS=1
exec "${run[@]}" torchrun --nnodes="$nodes" --nproc_per_node="$ranks" --rdzv-backend=c10d --rdzv-endpoint="$at" \
    --rdzv-id="$id" --max-restarts="$restarts" "$home/fedsim/main.py" "$@"
