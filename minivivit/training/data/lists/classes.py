"""From labels as a list writes them, names or numbers, to indices of classes."""

import re
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, pairwise

from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.files.tensor_data import listed, quoted
from minivivit.training.data.lists.clip_list import ClipList, ListedClip, wrong_line
from minivivit.training.data.lists.label_names import MOST_CLASSES


def classes_of(lists: Iterable[ClipList], names: Sequence[Sequence[str]] | None = None) -> list[list[str]]:
    """The classes that a training on lists has, a list of names a head.

    They are those of `names`, if given. Otherwise labels that are names are classes in alphabetical order; labels that
    are numbers make as many classes as the largest of them says, with numbers for names (Epic Kitchens' has as many
    classes as the data set is known to have).

    Parameters
    ----------
    lists : iterable of ClipList
        Of the same heads.
    names : list of lists of str, optional
        See `minivivit.training.data.lists.label_names`.

    Raises
    ------
    InputError
        When some labels of a head are names and others numbers, or a number is above 99,999.
    """
    lists = list(lists)
    if names is not None:
        return [list(of_head) for of_head in names]
    heads = lists[0].heads
    found: list[list[str]] = []
    for head in range(len(heads)):
        numbers: dict[str, tuple[ClipList, ListedClip]] = {}
        texts: dict[str, tuple[ClipList, ListedClip]] = {}
        for clip_list in lists:
            for clip in clip_list.clips:
                (numbers if _is_number(clip.labels[head]) else texts).setdefault(clip.labels[head], (clip_list, clip))
        if numbers and texts:
            (number, _), (name, (source, clip)) = next(iter(numbers.items())), next(iter(texts.items()))
            raise wrong_line(
                source.source,
                clip.line,
                f"the label is {quoted(name)}, but others are numbers, as {quoted(number)}; give all as names, or a "
                "file with the names (--labels)",
            )
        if texts:
            found.append(sorted(texts))
            continue
        largest = max(map(int, numbers))
        if largest >= MOST_CLASSES:
            source, clip = next(entry for label, entry in numbers.items() if int(label) == largest)
            raise wrong_line(source.source, clip.line, f"the label is {largest}; expected 0 to {MOST_CLASSES - 1:,}")
        found.append([str(number) for number in range(largest + 1)])
    for sizes in lists[0].known_sizes:
        if all(len(of_head) <= size for of_head, size in zip(found, sizes, strict=True)):
            return [[str(number) for number in range(size)] for size in sizes]
    return found


def unused_note(classes: Sequence[Sequence[str]], indices: Sequence[tuple[int, ...]], given: bool) -> str | None:
    """What to tell of classes without a clip, where their number was taken from the largest label."""
    unused = [
        str(index)
        for head, names in enumerate(classes)
        for index in sorted(set(range(len(names))) - {labels[head] for labels in indices})
    ]
    if given or not unused or len(classes) > 1:
        return None
    return f"no clip has the label {listed(unused)}; do the labels begin with 0?"


def label_indices(clip_list: ClipList, classes: Sequence[Sequence[str]]) -> list[tuple[int, ...]]:
    """The index of each clip's class, one a head: its name's, or the number itself where no class has it for a name.

    Raises
    ------
    InputError
        When the list has labels of another number of heads; for a label that is neither; for a name of two classes.
    """
    if len(classes) != len(clip_list.heads):
        raise InputError(
            f"{clip_list.source} has {_heads(len(clip_list.heads))}, but the classes are those of "
            f"{_heads(len(classes))}; expected as many of both"
        )
    tables: list[dict[str, int]] = []
    doubles: list[set[str]] = []
    for names in classes:
        table: dict[str, int] = {}
        double = {name for index, name in enumerate(names) if table.setdefault(name, index) != index}
        tables.append(table)
        doubles.append(double)
    found = []
    for clip in clip_list.clips:
        labels = []
        for text, table, double, names in zip(clip.labels, tables, doubles, classes, strict=True):
            if text in double:
                raise wrong_line(clip_list.source, clip.line, f"two classes have the name {quoted(text)}; give numbers")
            index = table.get(text)
            if index is None:
                if not _is_number(text) or int(text) >= len(names):
                    raise wrong_line(
                        clip_list.source,
                        clip.line,
                        f"the label {quoted(text)} is {_none_of(names)}",
                    )
                index = int(text)
            labels.append(index)
        found.append(tuple(labels))
    return found


def model_classes(config: VivitConfig) -> list[list[str]]:
    """The names of a model's classes, a list a head."""
    names = [config.id2label[index] for index in range(config.num_labels)]
    edges = [0, *accumulate(config.class_splits or [config.num_labels])]
    return [names[start:stop] for start, stop in pairwise(edges)]


def indices_of_model(
    clip_list: ClipList, config: VivitConfig, names: Sequence[Sequence[str]] | None = None
) -> tuple[list[tuple[int, ...]], list[str]]:
    """The indices of the clips' classes among a model's, and notes for the user.

    A label counts by its name, and a number by the name that `names` gives it; numbers without names are indices of the
    model's classes, and so are all where the model's classes have no names (``LABEL_0``). The heads of Epic Kitchens
    are put into the order that the model's sizes say.

    Raises
    ------
    InputError
        As `label_indices`.
    """
    own, notes = model_classes(config), []
    clip_list, names, order = _heads_as_in(clip_list, config, names)
    nameless = all(re.fullmatch(r"LABEL_\d+", name) for name in chain(*own))
    if names is None:
        if not nameless and all(_is_number(label) for clip in clip_list.clips for label in clip.labels):
            known = set(chain(*own))
            if not any(label in known for clip in clip_list.clips for label in clip.labels):
                notes.append(
                    f"the labels of {clip_list.source} are numbers, and are taken for those of the model's classes"
                )
        return label_indices(clip_list, own), notes + order
    by_name = label_indices(clip_list, names)
    if nameless:
        sizes = [len(of_head) for of_head in names], [len(of_head) for of_head in own]
        if sizes[0] != sizes[1]:
            raise InputError(f"the labels name {sizes[0]} classes, but the model has {sizes[1]}, without names")
        return by_name, notes + order
    tables = [{name: index for index, name in enumerate(of_head)} for of_head in own]
    for head, table in enumerate(tables):
        missing = sorted({names[head][labels[head]] for labels in by_name} - table.keys())
        if missing:
            raise InputError(
                f"the clips in {clip_list.source} are of classes that the model has not: {listed(missing)}; its "
                f"classes are {listed(own[head])}"
            )
    found = [
        tuple(table[of_head[label]] for label, of_head, table in zip(labels, names, tables, strict=True))
        for labels in by_name
    ]
    return found, notes + order


def _heads_as_in(
    clip_list: ClipList, config: VivitConfig, names: Sequence[Sequence[str]] | None
) -> tuple[ClipList, Sequence[Sequence[str]] | None, list[str]]:
    """The list with its heads in the model's order, where known sizes tell them apart."""
    splits = tuple(config.class_splits or ())
    turned = [sizes[::-1] for sizes in clip_list.known_sizes]
    if splits not in turned or splits in clip_list.known_sizes:
        return clip_list, names, []
    clips = [ListedClip(clip.name, clip.clip, clip.labels[::-1], clip.line) for clip in clip_list.clips]
    heads = clip_list.heads[::-1]
    note = f"the model's heads are taken for {' and '.join(heads)}, as their sizes {list(splits)} say"
    return ClipList(clip_list.source, heads, clips), names and names[::-1], [note]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9


def _none_of(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"neither the only class {quoted(names[0])} nor its number 0"
    return f"none of the {len(names)} classes {listed(names, 3)}, nor a number from 0 to {len(names) - 1}"


def _heads(count: int) -> str:
    return "one label a clip" if count == 1 else f"{count} labels a clip"
