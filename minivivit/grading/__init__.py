"""Grading that a submission cannot mislead: its code runs in a process of its own, and only answers come back.

- `minivivit.grading.batch.grade` takes a notebook, a Python file, or a folder or zip file of them, as
  ``minivivit grade`` does.
- `minivivit.grading.examination.examine` grades one: it draws inputs, sends them to the process that holds the
  student's code (`minivivit.grading.worker_process`), and when the answers are there, as plain bytes, computes what was
  expected and compares, with the same code as `minivivit.checks`.
- What runs in that process is `minivivit.grading.apart`; nothing else of the package is there.
"""
