"""What runs apart: the process that holds a student's code.

These modules import Python's own library, NumPy and each other, and nothing else of the package: the process that they
run in has no package (`minivivit.grading.worker_process` starts it).
"""
