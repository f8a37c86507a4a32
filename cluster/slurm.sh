#!/usr/bin/env bash
# One sweep on the nodes of a Slurm allocation: Ray's head and the driver on the first node, one Ray worker on each other.
#
#   cp cluster/slurm.sh my-slurm.sh      fill in the lines below, for your cluster
#   procray cluster validate my-slurm.sh --ready --sweep sweeps/substitutive.yaml --scale paper
#   sbatch my-slurm.sh sweeps/substitutive.yaml --scale paper      from the root of a checkout whose .venv has procray
#
# Three minutes before the time is up the sweep saves and ends with 143, and the job puts itself back into the queue: it
# continues where it was. `scancel --signal=TERM --batch JOB` saves and ends it for good.
#
#SBATCH --job-name=procray
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --mem=128G
#SBATCH --time=24:00:00
# SIGTERM to this script (B:), 180 seconds ahead of the limit.
#SBATCH --signal=B:TERM@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=procray-%j.log

set -euo pipefail

checkout="${SLURM_SUBMIT_DIR:-$PWD}"
bin="$checkout/.venv/bin"
export PROCRAY_STORE="${PROCRAY_STORE:-/FILL-IN/procray/store}"   # a folder that all nodes share, or s3://
cpus="${SLURM_CPUS_PER_TASK:-1}"
gpus="${SLURM_GPUS_ON_NODE:-0}"

# A token for this job, in a file that only you can read; it is gone with the job.
umask 077
mkdir -p "$HOME/.procray"
export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH="$HOME/.procray/token-$SLURM_JOB_ID"
"$bin/python" -c 'import secrets; print(secrets.token_hex(32), end="")' > "$RAY_AUTH_TOKEN_PATH"

# A raylet that is told to stop drains first, so that what trains there saves; Ray's default of 30 seconds is all that Slurm
# gives to a job that it kills, and is waited out at every end.
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=10

pids=()
looker=""
temporary=""
# shellcheck disable=SC2329  # the trap calls it
cleanup() {
  trap - EXIT
  for pid in "${pids[@]}" $looker; do kill -TERM "$pid" 2> /dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2> /dev/null || true; done
  if [ -n "$temporary" ]; then srun "${everywhere[@]}" rm -rf "$temporary" || true; fi
  rm -f "$RAY_AUTH_TOKEN_PATH"
}
trap cleanup EXIT
trap 'exit 143' TERM

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head="${nodes[0]}"
# PROCRAY_HEAD_ADDRESS: where the first node has several networks and its name stands for the wrong one.
address="${PROCRAY_HEAD_ADDRESS:-$(srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | tr ' ' '\n' | grep -v '^127\.' | grep -m 1 -E '^[0-9.]+$')}"
port=$((12000 + 2 * (SLURM_JOB_ID % 10000)))   # several jobs may share a node; below what the system hands out by itself

# All other ports are free ones that the system chooses (0), except that of Ray's client, which nobody needs and which would
# be 10001 in every job. The nodes are yours, so the head trains as well; the driver is small beside it.
common=(--num-cpus="$cpus" --num-gpus="$gpus" --min-worker-port=0 --max-worker-port=0 --disable-usage-stats --block)
# srun is told the processors again: from Slurm 22.05 on it no longer takes them from the job, and gives a step one.
step=(--overlap --cpus-per-task="$cpus")

# Ray opens its own folder to every user of a node, so it stands below one that is yours alone, on every node under the same
# name, which nobody can know before. mkdir fails where somebody else has made it. Short: Ray's sockets allow no long paths.
everywhere=("${step[@]}" --nodes="${#nodes[@]}" --ntasks="${#nodes[@]}" --ntasks-per-node=1)
name="/tmp/procray-$("$bin/python" -c 'import secrets; print(secrets.token_hex(6), end="")')"
srun "${everywhere[@]}" mkdir -m 700 "$name"
temporary="$name"

# Ray gives a node 30 seconds to come up and then ends, which a busy node or a slow file system may need for Python alone. What
# has ended is started again, up to this many seconds after the job began.
patience="${PROCRAY_START_SECONDS:-300}"
pause() { sleep "$1" & wait "$!" || true; }   # unlike sleep itself, a signal ends it

# Whether so many nodes are in Ray, or come within so many seconds: joined NODES SECONDS. Ray's own health check only asks its
# head process, which answers before the head's node is there.
looks='
import sys, time
import ray
wanted, end = int(sys.argv[2]), time.monotonic() + float(sys.argv[3])
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
while sum(node["Alive"] for node in ray.nodes()) < wanted:
    if time.monotonic() > end:
        sys.exit(1)
    time.sleep(1)
'
joined() {
  "$bin/ray" health-check --address "$address:$port" > /dev/null 2>&1 || return 1
  "$bin/python" -c "$looks" "$address:$port" "$1" "$2" > /dev/null 2>&1 &
  looker=$!
  local code=0
  wait "$looker" || code=$?
  looker=""
  return "$code"
}

start_head() {
  srun "${step[@]}" --nodes=1 --ntasks=1 --nodelist="$head" \
    "$bin/ray" start --head --node-ip-address="$address" --port="$port" --ray-client-server-port=$((port + 1)) \
    --resources='{"train_driver": 16}' --include-dashboard=false --temp-dir="$temporary/r" "${common[@]}" &
  first=$!
  pids=("$first")
}
try=1
start_head
until joined 1 0; do
  if [ "$SECONDS" -ge "$patience" ]; then
    echo "Ray's head did not start on $head within $patience seconds (tries: $try); PROCRAY_START_SECONDS=... gives it more" >&2
    exit 3
  fi
  if ! kill -0 "$first" 2> /dev/null; then
    code=0
    wait "$first" || code=$?
    echo "Ray's head on $head ended with $code before it was up, $SECONDS seconds after the job began (try $try); trying again" >&2
    pause $((5 * try))
    try=$((try + 1))
    start_head
  fi
  sleep 1
done

# Runs what starts Ray on a node, again where it ends too soon; SIGTERM is passed on, and ends it.
again() {
  local node="$1" try=1 pid="" stopped="" code
  shift
  trap 'stopped=yes; kill -TERM "$pid" 2> /dev/null || true' TERM
  while :; do
    "$@" &
    pid=$!
    if [ -n "$stopped" ]; then kill -TERM "$pid" 2> /dev/null || true; fi
    code=0
    wait "$pid" || code=$?
    while kill -0 "$pid" 2> /dev/null; do code=0; wait "$pid" || code=$?; done   # a signal ends `wait` early
    if [ -n "$stopped" ] || [ "$code" -eq 0 ]; then exit "$code"; fi
    if [ "$SECONDS" -ge "$patience" ]; then
      echo "Ray on $node ended with $code, $SECONDS seconds after the job began (try $try); it is started again within" \
        "$patience only (PROCRAY_START_SECONDS), so the job goes on without this node" >&2
      exit 3
    fi
    echo "Ray on $node ended with $code, $SECONDS seconds after the job began (try $try); trying again" >&2
    pause $((5 * try))
    if [ -n "$stopped" ]; then exit 143; fi
    try=$((try + 1))
  done
}
for node in "${nodes[@]:1}"; do
  again "$node" \
    srun "${step[@]}" --nodes=1 --ntasks=1 --nodelist="$node" \
    "$bin/ray" start --address="$address:$port" "${common[@]}" &
  pids+=($!)
done

# What the sweep finds when it begins is what its phases must fit on, so it begins when all nodes are there, or are too late.
if [ "${#nodes[@]}" -gt 1 ]; then
  joined "${#nodes[@]}" "$((patience - SECONDS))" || echo "not all of the ${#nodes[@]} nodes have joined Ray in time; the sweep begins" >&2
fi

"$bin/procray" sweep "$@" --address "$address:$port" &
driver=$!
trap 'signalled=yes; kill -TERM "$driver" 2> /dev/null || true' TERM

# `wait` also returns when a signal comes; the sweep then still has to save.
code=0
while :; do
  signalled="" last="$code" code=0
  wait "$driver" || code=$?
  if [ "$code" -eq 127 ]; then code="$last"; break; fi   # it had ended before
  if [ -z "$signalled" ]; then break; fi
done

# Saved because the time is nearly up, and not because somebody asked: back into the queue.
left="$(squeue --noheader --format=%L --jobs="$SLURM_JOB_ID" 2> /dev/null || true)"
if [ "$code" -eq 143 ] && [[ "$left" =~ ^[0-9]:[0-9][0-9]$ ]]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
