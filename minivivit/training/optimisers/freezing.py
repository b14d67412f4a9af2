"""Freezing: which parameters a training leaves as they are."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from minivivit.errors import InputError
from minivivit.files.tensor_data import listed, quoted


def trainable_names(names: Iterable[str], freeze: Sequence[str] = ()) -> list[str]:
    """The names that match none of the patterns, in their order.

    A frozen parameter is one that the optimiser is never shown::

        names = trainable_names(model.state_dict(), freeze=["vivit.embeddings.*", "vivit.encoder.layer.[0-5].*"])
        optimiser = AdamW({name: model.state_dict()[name] for name in names})

    Parameters
    ----------
    names : iterable of str
        Flat names of parameters.
    freeze : sequence of str
        Patterns as in a shell: ``*`` any characters (dots too), ``?`` one character, ``[0-5]`` one of several. A
        pattern has to match the whole name.

    Raises
    ------
    InputError
        When a pattern matches no name, or when nothing is left to train.
    """
    names = list(names)
    if isinstance(freeze, str):
        raise InputError(
            f"freeze is the string {quoted(freeze)}; expected a list of patterns, such as [{quoted(freeze)}]"
        )
    for pattern in freeze:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InputError(
                f"the pattern {quoted(pattern)} to freeze matches no parameter; names look like {names[:1]}"
            )
    trainable = [name for name in names if not any(fnmatchcase(name, pattern) for pattern in freeze)]
    if names and not trainable:
        raise InputError(f"the patterns {listed(freeze)} freeze every parameter; leave some to train")
    return trainable
