# shellcheck shell=bash
# The body of a job: torchrun on every node; before the time limit a checkpoint, and back into the queue.
#
#   RANKS_PER_NODE   ranks on a node (default: its GPUs in the allocation, else its cores; at most its share of the clients)
#   RESTARTS         how often a run is started again within the job after a failure (default 3)
set -uo pipefail

FEDSIM_HOME=${FEDSIM_HOME:-$SLURM_SUBMIT_DIR}
# shellcheck source=slurm/site.env
source "$FEDSIM_HOME/slurm/site.env"

if [ "${SLURM_NTASKS:-$SLURM_JOB_NUM_NODES}" -ne "$SLURM_JOB_NUM_NODES" ]; then
    echo "job $SLURM_JOB_ID: $SLURM_NTASKS tasks on $SLURM_JOB_NUM_NODES nodes would be several runs: submit without" \
        "--ntasks and --ntasks-per-node, and say RANKS_PER_NODE=N slurm/submit.sh --cpus-per-task=N ... for N ranks" \
        "on each node" >&2
    exit 2
fi

# shellcheck disable=SC2086 # a container's command is several words
ranks=${RANKS_PER_NODE:-$(PYTHONPATH=$FEDSIM_HOME${PYTHONPATH:+:$PYTHONPATH} ${FEDSIM_IN_CONTAINER:-} \
    python -m fedsim.ranks --hosts "$SLURM_JOB_NUM_NODES" "$@" "${RUNTIME[@]}")} || exit 2
if [ "$SLURM_JOB_NUM_NODES" -eq 1 ]; then
    meeting=(--standalone --local-addr=127.0.0.1) # at a free port, without the host's name
else
    # Jobs on one node must not meet at one port; ids of jobs that run at the same time are close to each other.
    first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    meeting=(--nnodes="$SLURM_JOB_NUM_NODES" --rdzv-backend=c10d --rdzv-id="$SLURM_JOB_ID"
        --rdzv-endpoint="$first:$((20000 + SLURM_JOB_ID % 20000))")
fi

# Of an array, this task: the number of its last one is that of the array, and means all of them.
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
job=${job:-$SLURM_JOB_ID}
# Since SLURM 22.05 srun does not take it from sbatch, and where tasks are bound all ranks would share one core.
cores=()
if [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then cores=(--cpus-per-task="$SLURM_CPUS_PER_TASK"); fi

# One store per attempt: in a shared one the new ranks find the addresses of the dead.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 OMP_NUM_THREADS=1

echo "job $SLURM_JOB_ID, start $((${SLURM_RESTART_COUNT:-0} + 1)): $SLURM_JOB_NODELIST, $ranks ranks on each"
# shellcheck disable=SC2086 # a container's command is several words
srun --kill-on-bad-exit=1 "${cores[@]}" ${FEDSIM_IN_CONTAINER:-} torchrun "${meeting[@]}" --nproc_per_node="$ranks" \
    --max-restarts="${RESTARTS:-3}" "$FEDSIM_HOME/fedsim/main.py" "$@" "${RUNTIME[@]}" &
step=$!

# SLURM sends USR1 here some time before the limit, and TERM when it preempts the job. The ranks, on TERM, write a
# checkpoint and leave. Not through srun: it would take a TERM of its own as an order to kill.
limit=no
trap 'limit=yes; scancel --signal=TERM "$job.0"' USR1
trap 'scancel --signal=TERM "$job.0"' TERM

wait $step
status=$?
while kill -0 $step 2>/dev/null; do # a trap has cut the wait short
    wait $step
    status=$?
done

if [ $limit = yes ] && [ $status -ne 0 ]; then
    echo "job $job: the time limit is near, back into the queue"
    scontrol requeue "$job" && exec sleep 60 # SLURM ends this script; leaving by itself it would have failed
fi
exit $status
