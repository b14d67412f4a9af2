"""Write the fault gallery as a page:  python tests/parity/fault_gallery_page.py > notebooks/fault_gallery.md"""

from fault_gallery import find
from planted_faults import FAULTS, Fault

INTRODUCTION = """\
# The fault gallery

{count} ways in which a port of ViViT goes wrong. Each was planted into a small model of transformers, and found
again by `minivivit compare`; what stands under "Found" is what the tool said. Most of these bugs raise no error and
change no shape, and many leave an accuracy that is merely worse than it should be.

This page is made by `tests/parity/fault_gallery_page.py` from `tests/parity/planted_faults.py`, and the test
`tests/parity/test_fault_gallery.py` holds the tool to it: the first wrong tensor must be named in every one, and a
cause, where one is claimed, must be the right one.

## Finding a bug of your own

    minivivit trace pixel_values.npy ours --model DIR --budget float32
    python your_port.py pixel_values.npy theirs.npz
    minivivit compare ours theirs.npz
    minivivit compare ours theirs.npz --html report.html

1. `trace` runs our model in float64 on exactly the pixels that your port sees, and writes every intermediate value
   by name. With `--budget` it also measures what the rounding of your precision does to each of them.
2. Your port saves its own intermediate values, under our names where you can: a dictionary that is filled as the
   layers run, and `numpy.savez` at the end. `pixel_values` belongs into it too. For a model of transformers that is
   `minivivit.verification.tracing.capture_transformers`. Other names are mapped (`--map names.json`), or paired by
   shape and order (`--pair order`). Begin with few: the output of each layer shows in which layer to look.
3. `compare` names the first tensor, in the order of execution, that differs by more than rounding explains, and
   what made it so, if it can tell. It does not guess: for each mistake that it knows it computes what our inputs
   would have become, and claims the mistake only where that is your tensor.
4. The page of `--html` shows how the error goes on from there. **Mend the first tensor only, and compare again:**
   all that comes after it is wrong because of it, and says nothing of its own.

Before the first wrong tensor everything is right; so the bug lies between it and the tensors that it is computed
from. Three habits help to see it:

- Is it wrong everywhere? A wrong first token is a matter of the CLS token, a wrong last row of a grid one of
  padding, errors of a pattern along the features one of heads.
- How large is the error? A relative error of 1 or more, and a cosine near 0, are other numbers altogether (an
  order, a transpose). 0.1 to 1 is something left out or added. 1e-4 to 1e-2 is another formula for nearly the same
  (an activation, a variance) or a lower precision. 1e-6 is an epsilon.
- Are the numbers all there? If sorted values agree, only their order is wrong.

Attention scores and probabilities are large, and `trace` leaves them out unless a pattern of `--only` matches their
names (`--only '*'` writes everything). Without them a wrong scale shows in the attention's output, and is claimed
there just as well.

## Overview

| Fault | First wrong tensor | Cause claimed |
| --- | --- | --- |
"""


def entry(fault: Fault) -> str:
    """The part of the page about one fault."""
    finding = find(fault)
    row = finding.comparison.first_divergent
    assert row is not None
    assert row.error is not None
    if row.error.num_nonfinite:
        size = f"{row.error.num_nonfinite} entries are not finite"
    else:
        size = f"relative error {row.error.relative_l2:.1e}, of which rounding explains {row.allowed:.1e}"
        size += f"; cosine {row.error.cosine:.2f}" if row.error.cosine < 0.999 else ""
    hints = " ".join(f"*{cause.sentence}.*" for cause in finding.causes) or "No cause is claimed."
    return f"""\
### {fault.name[0].upper()}{fault.name[1:]}

{fault.story}

    {fault.wrong}    # wrong
    {fault.right}    # right

Found: `{row.name}`, {size}. {hints}

Told apart: {fault.apart}
"""


def page() -> str:
    """The whole page."""
    rows = [f"| {fault.name} | `{fault.first_wrong}` | {fault.cause or 'none'} |" for fault in FAULTS]
    parts = [INTRODUCTION.format(count=len(FAULTS)) + "\n".join(rows) + "\n"]
    for place in dict.fromkeys(fault.place for fault in FAULTS):
        parts.append(f"## {place}\n")
        parts += [entry(fault) for fault in FAULTS if fault.place == place]
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
