"""Say on what the tests run: the processor, and what OpenBLAS and NumPy make of it.

python tests/processor.py              in words
python tests/processor.py --above      NumPy's features above its baseline here, for NPY_DISABLE_CPU_FEATURES
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

ABOVE = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]


def processor() -> str:
    """Its name, and whether it has the long registers."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = fields.get("flags", "").split()
    found = [flag for flag in ("avx2", "avx512f") if flag in flags]
    name = fields.get("model name") or platform.processor() or platform.machine()
    return f"{name}, {' and '.join(found) or 'no avx2'}"


if __name__ == "__main__":
    if "--above" in sys.argv[1:]:
        print(*ABOVE)
        sys.exit()
    print(f"processor: {processor()}")
    for library in threadpoolctl.threadpool_info():
        name, kernels = library["internal_api"], library.get("architecture", "unknown")
        print(f"BLAS: {name} {library.get('version')}, kernels for {kernels}, {library['num_threads']} threads")
    print(f"NumPy {numpy.__version__}: {' '.join(__cpu_baseline__)}, and at hand {' '.join(ABOVE) or 'nothing else'}")
    print(f"SciPy {scipy.__version__}, Python {platform.python_version()}, {platform.platform()}")
