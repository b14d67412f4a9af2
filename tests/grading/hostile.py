"""What ends, blocks or floods the process that holds it; each is Python that stands in for THE_TASK."""

# name: (source, a part of what the report says)
HOSTILE = {
    "exits": ("import os\n\ndef THE_TASK(*arguments):\n    os._exit(0)\n", "exit code 0"),
    "crashes": (
        "import ctypes\n\ndef THE_TASK(*arguments):\n    ctypes.memmove(1, 2, 1 << 20)\n",
        "crashed (SIGSEGV)",
    ),
    "holds the lock": ("def THE_TASK(*arguments):\n    return sum(range(10**12))\n", "could not be interrupted"),
    "has a length without end": (
        "class Answer(list):\n    def __iter__(self):\n        while True: pass\n    def __len__(self):\n"
        "        while True: pass\n\ndef THE_TASK(*arguments):\n    return Answer()\n",
        "stopped after",
    ),
    "prints": (
        "def THE_TASK(*arguments):\n    for _ in range(320):\n        print('x' * 1_000_000)\n",
        "printed more than 1,048,576 bytes",
    ),
    "sleeps": ("import time\n\ndef THE_TASK(*arguments):\n    time.sleep(3600)\n", "could not be interrupted"),
    "takes all memory": (
        "def THE_TASK(*arguments):\n    return np.ones(1 << 33)\n",
        "MemoryError",
    ),
    "answers with too much": (
        "def THE_TASK(*arguments):\n    return np.ones((1 << 24, 1))\n",
        "more than 67,108,864 bytes",
    ),
    "nests": (
        "def THE_TASK(*arguments):\n    answer = []\n    for _ in range(10**5):\n        answer = [answer]\n"
        "    return answer\n",
        "nested too deeply",
    ),
    "raises what speaks for ever": (
        "class Odd(Exception):\n    def __str__(self):\n        while True: pass\n\n"
        "def THE_TASK(*arguments):\n    raise Odd\n",
        "stopped after",
    ),
    "leaves": ("import sys\n\ndef THE_TASK(*arguments):\n    sys.exit(3)\n", "raises SystemExit: 3"),
    "closes everything": (
        "import os\n\ndef THE_TASK(*arguments):\n    os.closerange(0, 64)\n",
        "the process",
    ),
    "floods the grader": (
        "import os\n\ndef THE_TASK(*arguments):\n    for number in range(3, 64):\n        try:\n"
        "            os.write(number, b'\\xff' * 4096)\n        except OSError:\n            pass\n",
        "was ended: it sent",
    ),
    "swallows every word to stop": (
        "def THE_TASK(*arguments):\n    while True:\n        try:\n            while True: pass\n"
        "        except BaseException: pass\n",
        "",  # stopped, if the word comes outside of the try, or ended
    ),
    "starts threads without end": (
        "import threading, time\n\ndef THE_TASK(*arguments):\n    while True:\n"
        "        threading.Thread(target=time.sleep, args=(3600,)).start()\n",
        "RuntimeError: can't start new thread",
    ),
    "returns itself": ("def THE_TASK(*arguments):\n    return THE_TASK\n", "is a function, not what it returns"),
    "recurses": ("def THE_TASK(*arguments):\n    return THE_TASK(*arguments)\n", "RecursionError"),
    "writes a large file": (
        "def THE_TASK(*arguments):\n    with open('large', 'wb') as file:\n        for _ in range(64):\n"
        "            file.write(bytes(1 << 20))\n",
        "",
    ),
}
# Cells that do the like before any function is called.
HOSTILE_CELLS = (
    "import os\nos._exit(1)",
    "while True: pass",
    "raise SystemExit",
    "print('x' * (1 << 22))",
    "this is no Python",
    "import no_such_library\nnp = np",
)
