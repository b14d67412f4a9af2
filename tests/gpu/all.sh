#!/usr/bin/env bash
# All that a machine with an NVIDIA GPU can tell, into one folder: whether every model computes there what it computes on
# the CPU, how long ViViT-B/16x2 takes beside PyTorch on the same GPU, and which ten kernels cost the most.
#
#     pip install '.[test,parity,cuda12]'      (or cuda13)
#     bash tests/gpu/all.sh [FOLDER]           a new folder; left out: gpu_results
#
# Ten minutes on an H100. What fails is said at the end, and the rest is run all the same. Without a GPU, and with
# MINIVIVIT_WITHOUT_GPU=1, what needs none is run, to try this script: the contract with CuPy, and a profile of PyTorch.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2

folder=${1:-gpu_results}
if [ -e "$folder" ]; then
    echo "$folder is there already; give the name of a new folder" >&2
    exit 2
fi
has_gpu='import cupy; raise SystemExit(cupy.cuda.runtime.getDeviceCount() == 0)'
if python -c "$has_gpu" > /dev/null 2>&1; then
    device=cuda
elif [ "${MINIVIVIT_WITHOUT_GPU:-}" = 1 ]; then
    device=cpu
else
    echo "CuPy finds no GPU here: pip install '.[test,parity,cuda12]' on a machine with one" >&2
    exit 2
fi
mkdir -p "$folder"
failed=()

# Run a command, with all that it says in FOLDER/NAME.txt too.
step() {
    local name=$1
    shift
    printf '\n===== %s: %s\n' "$name" "$*"
    if ! "$@" 2>&1 | tee "$folder/$name.txt"; then
        failed+=("$name")
    fi
}
machine() {
    date --iso-8601=seconds
    git describe --always --dirty
    if [ "$device" = cuda ]; then nvidia-smi; fi
    python --version
    python -m pip freeze
}

step machine machine
step contract python -m pytest -m contract tests/gpu
if [ "$device" = cuda ]; then
    step parity python -m pytest -m gpu
    for what in forward training; do
        for batch in 1 8; do
            step "${what}_$batch" python tests/benchmarks/full_size.py "$what" --device cuda --batch "$batch" --rounds 10
        done
    done
fi
for what in forward training; do
    step "profile_$what" python tests/gpu/profile_kernels.py "$what" --device "$device"
done

if [ "${#failed[@]}" -gt 0 ]; then
    printf '\nfailed: %s; what they said is in %s\n' "${failed[*]}" "$folder"
    exit 1
fi
printf '\nall passed; the figures are in %s\n' "$folder"
