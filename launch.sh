# shellcheck shell=bash
# Sourced by the run_*.sh wrappers: `launch SCRIPT N_GPUS GPU_IDS OPTIONS...` runs a training script in the environment,
# as one process, or one process a GPU by torchrun (see utils/launch.py). GPU_IDS: 0 or 0,1,2; -1 is the CPU, and -1,-1
# two processes on it.

launch() {
    local script="$1" count="$2" ids="$3"
    shift 3
    if ! [[ "$count" =~ ^-?[0-9]+$ && "$ids" =~ ^(-1(,-1)*|[0-9]+(,[0-9]+)*)$ ]]; then
        echo "error: N_GPUS must be a number and GPU_IDS like 0 or 0,1,2 or -1 or -1,-1, not '$count' and '$ids'" >&2
        return 2
    fi
    if [ "$count" -ge 1 ] && [ "$(tr ',' '\n' <<<"$ids" | wc -l)" -ne "$count" ]; then
        echo "error: N_GPUS is $count, but GPU_IDS $ids are another number of GPUs" >&2
        return 2
    fi
    local together=(python -m utils.launch --nproc_per_node)
    if [ "$count" -gt 1 ]; then export OMP_NUM_THREADS="${OMP_NUM_THREADS:-4}"; fi
    if [ "$count" -gt 1 ] && [[ "$ids" == -1,* ]]; then
        exec "${together[@]}" "$count" "$script" --gpu_id -1 "$@"
    fi
    if [ "$count" -gt 1 ]; then
        # Those that this machine has; what is missing is warned of here.
        ids="$(python -m utils.device "$ids")" || return
        count="$(tr ',' '\n' <<<"$ids" | wc -l)"
    fi
    if [ "$count" -gt 1 ]; then
        # The processes number the GPUs that they see from zero. CUDA_VISIBLE_DEVICES of the caller is respected.
        local visible="${CUDA_VISIBLE_DEVICES:-}" chosen=() number
        for number in ${ids//,/ }; do
            if [ -n "$visible" ]; then number="$(cut -d, -f"$((number + 1))" <<<"$visible")"; fi
            chosen+=("$number")
        done
        CUDA_VISIBLE_DEVICES="$(IFS=,; echo "${chosen[*]}")" \
            exec "${together[@]}" "$count" "$script" --gpu_id "$(seq -s, 0 "$((count - 1))")" "$@"
    fi
    exec python "$script" --gpu_id "$ids" "$@"
}
