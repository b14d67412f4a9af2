"""Say on what the tests run: the processor, and what OpenBLAS and NumPy make of it.

python tests/processor.py              in words
python tests/processor.py --kernels    OpenBLAS's kinds of kernels for older processors than this, for OPENBLAS_CORETYPE
python tests/processor.py --dispatched NumPy's features above its baseline here, for NPY_DISABLE_CPU_FEATURES
"""

import platform
import sys
from pathlib import Path

import numpy
import scipy.linalg  # brings in SciPy's own OpenBLAS
import threadpoolctl

try:
    from numpy._core._multiarray_umath import __cpu_baseline__, __cpu_dispatch__, __cpu_features__
except ImportError:  # a build, or a release, that does not say
    __cpu_baseline__, __cpu_dispatch__, __cpu_features__ = [], [], {}

# What OpenBLAS chooses for processors that have one instruction set after the other, by Linux's names.
KERNELS = {"Nehalem": "sse4_2", "Sandybridge": "avx", "Haswell": "avx2", "SkylakeX": "avx512f"}


def cpuinfo() -> dict[str, str]:
    """What Linux says of a processor; nothing elsewhere."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def main(option: str) -> None:
    """Print what is asked for."""
    flags = cpuinfo().get("flags", "").split()
    dispatched = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
    if option == "--kernels":
        # the last are its own choice, or nearly (newest processors have refinements of SkylakeX's)
        print(*[kernel for kernel, flag in KERNELS.items() if flag in flags][:-1])
        return
    if option == "--dispatched":
        print(*dispatched)
        return
    name = cpuinfo().get("model name") or platform.processor() or platform.machine()
    print(f"processor: {name}, with {' '.join(flag for flag in KERNELS.values() if flag in flags)}")
    for library in threadpoolctl.threadpool_info():
        kernels = library.get("architecture", "unknown")
        print(f"BLAS: {library['internal_api']} {library.get('version')}, kernels for {kernels}")
    print(f"NumPy {numpy.__version__}: {' '.join(__cpu_baseline__)}, and beyond it {' '.join(dispatched) or 'nothing'}")
    print(f"SciPy {scipy.__version__}, Python {platform.python_version()}, {platform.platform()}")


if __name__ == "__main__":
    main("".join(sys.argv[1:]))
