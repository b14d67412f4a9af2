"""An independent port of ViViT to PyTorch, the mistakes that are planted into it, and right ports.

`network.py` is the port, `models.py` makes it and ours with the same weights, `recording.py` records it with its own
hooks, and `mapping.py` says which of its tensors is which of ours. The mistakes are in the files `*_faults.py`, and
`right_pairs.py` lists ports without one. `measure.py` plants one, compares, and judges what was said:

- The first tensor that diverges must be the fault's `first_wrong`, or the first one at or after it that is paired.
- A cause counts by its name (`Cause.name`); of a mistake that is confined to a place, by the place too: one of the
  words in `Fault.where` must stand somewhere in the comparison's JSON outside the lists of tensors.
- The exit code is the comparison's `exit_code` where it has one, else 1 unless it `agrees`. 0 means that nothing is
  reported. It may be 0 only where `hidden.py` names the fault.

`tests/parity/port_report.py` prints it all, and `test_port_gallery.py` holds the tool to it.
"""
