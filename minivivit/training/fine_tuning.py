"""Fine-tuning: a trained model with a new head."""

import numpy

from minivivit.config import VivitConfig
from minivivit.errors import InputError
from minivivit.files.parameter_names import published_names
from minivivit.files.tensor_data import listed, quoted
from minivivit.files.weights import tensor_index
from minivivit.models.classification import VivitForVideoClassification
from minivivit.models.parameters import classification_shapes, flatten, initial_parameters
from minivivit.training.settings import TrainingSettings


def model_with_new_head(
    directory: str, settings: TrainingSettings, classes: list[str], class_splits: list[int] | None = None
) -> VivitForVideoClassification:
    """The model of a directory, with a head for `classes`.

    The head is drawn anew unless the model already has one for just these classes, in this order.

    Parameters
    ----------
    directory : str
        In the Hugging Face layout.
    settings : TrainingSettings
        ``model`` may change what changes no parameter (dropout, stochastic depth).
    classes : list of str
    class_splits : list of int, optional
        How many of them each head has, where there are several.

    Raises
    ------
    InputError
        When ``model`` would change the shape of any parameter but the head's, or the directory holds one of another
        shape: only a head is drawn anew.
    """
    if "preset" in settings.model:
        raise InputError("model names a preset, but the training starts from a model, which has a config; leave it out")
    old = VivitConfig.from_pretrained(directory)
    labels = dict(enumerate(classes))
    label2id = {label: index for index, label in labels.items()}
    overrides = {**settings.model, "num_labels": len(labels), "id2label": labels, "label2id": label2id}
    overrides.update(class_splits=class_splits, problem_type="single_label_classification")
    new = VivitConfig.from_pretrained(directory, **overrides)
    _check_same_body(old, new, directory)
    _check_stored_body(new, directory)
    model = VivitForVideoClassification.from_pretrained(
        directory,
        dtype=settings.dtype,
        backend=settings.backend,
        config=new,
        seed=settings.seed,
        ignore_mismatched_sizes=True,
    )
    if old.id2label != new.id2label or old.class_splits != new.class_splits:
        head = {"classifier": classification_shapes(new)["classifier"]}
        generator = numpy.random.default_rng(settings.seed)
        model.params.update(initial_parameters(head, new, generator, model.dtype, model.xp))
    return model


def _check_same_body(old: VivitConfig, new: VivitConfig, directory: str) -> None:
    old_shapes, new_shapes = (flatten(classification_shapes(config)["vivit"]) for config in (old, new))
    for name in sorted(old_shapes.keys() | new_shapes.keys()):
        if old_shapes.get(name) != new_shapes.get(name):
            raise InputError(
                f"with these settings of the model, vivit.{name} is {new_shapes.get(name)}, but {directory} has "
                f"{old_shapes.get(name)}; to start from a model, change only what changes no parameter"
            )


def _check_stored_body(config: VivitConfig, directory: str) -> None:
    """Refuse weights that do not fit before they are passed over: ``ignore_mismatched_sizes`` is meant for the head."""
    shapes = {f"vivit.{name}": shape for name, shape in flatten(classification_shapes(config)["vivit"]).items()}
    stored = {name: shape for name, (shape, _) in tensor_index(directory).items()}
    found = {}
    for name, published in published_names(stored, str(directory)).items():
        found[f"vivit.{published.removeprefix('vivit.')}"] = stored[name]
    wrong = [name for name, shape in shapes.items() if name in found and found[name] != shape]
    if wrong:
        raise InputError(
            f"{directory} does not fit its config: {listed(wrong)} is {quoted(found[wrong[0]])}, expected "
            f"{shapes[wrong[0]]}; only the head may be of another shape"
        )
