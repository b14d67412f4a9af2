"""No false alarm: pairs of runs that differ by rounding only must agree, in every tensor, forward and backward."""

import numpy
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from hugging_face import published_name, random_clip, random_settings, reference  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402

from minivivit import VivitConfig, VivitForVideoClassification  # noqa: E402
from minivivit.verification.comparison.verdict import compare  # noqa: E402
from minivivit.verification.rounding.budget import rounding_budgets  # noqa: E402
from minivivit.verification.tensors.source import ArraySource  # noqa: E402
from minivivit.verification.tracing.capture_transformers import capture_transformers  # noqa: E402
from minivivit.verification.tracing.recording import record_pass  # noqa: E402

pytestmark = pytest.mark.parity

SEEDS = range(100, 106)
PRECISIONS = ("float64", "float32", "bfloat16", "float16")
# Eager attention takes its softmax in float32 whatever the model computes in: for float64 that is no rounding.
THEIRS = [
    (precision, attention)
    for precision in PRECISIONS
    for attention in ("sdpa", "eager")
    if (precision, attention) != ("float64", "eager")
]
DEEP = {
    "hidden_size": 48,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "image_size": [32, 32],
    "num_frames": 8,
    "tubelet_size": [2, 8, 8],
    "num_channels": 3,
}


class Copies(dict):
    def __setitem__(self, name, array):
        super().__setitem__(name, numpy.array(array))


class Case:
    """A random model of transformers, the same of ours, and our float64 trace with its budgets."""

    def __init__(self, seed: int):
        settings = random_settings(seed) | {"layer_norm_eps": (1e-6, 1e-12, 1e-5)[seed % 3]}
        self.config = transformers.VivitConfig(**settings | (DEEP if seed == SEEDS[-1] else {}))
        self.seed, self.pixels = seed, random_clip(self.config, seed=seed)
        self.labels = numpy.arange(2) % settings["num_labels"]
        self.arguments = {"labels": self.labels, "gradients": True}
        model = self.ours("float64")
        self.trace = ArraySource(self.trace_of(model))
        budgets = rounding_budgets(model, self.pixels, self.trace, PRECISIONS, **self.arguments)
        self.trace.metadata = {"rounding_budgets": budgets, "config": model.config.to_dict()}

    def theirs(self, attention: str):
        """In float64."""
        return reference(transformers.VivitForVideoClassification, self.config, self.seed, "float64", attention)

    def ours(self, dtype: str) -> VivitForVideoClassification:
        config = VivitConfig(**self.config.to_dict())
        model = VivitForVideoClassification(config, dtype=dtype, backend="numpy")
        parameters = self.theirs("sdpa").named_parameters()
        model.load_state_dict({published_name(name): value.detach().numpy() for name, value in parameters})
        return model

    def trace_of(self, model) -> dict[str, numpy.ndarray]:
        store = Copies()
        record_pass(model, model.checked_pixels(self.pixels), store, **self.arguments)
        return store


@pytest.fixture(scope="module", params=SEEDS)
def case(request):
    return Case(request.param)


def check(comparison, number: int) -> None:
    worst = max(comparison.rows, key=lambda row: row.excess)
    assert comparison.agrees, f"{comparison.verdict}; at worst {worst}"
    assert {row.status for row in comparison.rows} <= {"equal", "rounding"}
    assert len(comparison.rows) >= number


# 6 models: 42 pairs with transformers, and 12 with ourselves.
@pytest.mark.parametrize(("precision", "attention"), THEIRS)
def test_transformers_in_a_lower_precision_agrees(case, precision, attention):
    threads = torch.get_num_threads()
    torch.set_num_threads(1 + (case.seed + len(attention)) % 2)
    try:
        model = case.theirs(attention).to(getattr(torch, precision))
        theirs = capture_transformers(model, case.pixels, **case.arguments)
    finally:
        torch.set_num_threads(threads)
    layers = case.config.num_hidden_layers
    check(compare(case.trace, theirs, precision=precision), 30 * layers)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_our_own_run_on_other_threads_agrees(case, dtype):
    with threadpool_limits(1 + case.seed % 2):
        theirs = case.trace_of(case.ours(dtype))
    check(compare(case.trace, theirs), len(case.trace.shapes))


def test_what_is_not_rounding_is_found_in_the_same_models(case):
    """Else the agreement above would tell nothing: a weight of the last layer is wrong by a thousandth."""
    model = case.theirs("sdpa")
    layer = case.config.num_hidden_layers - 1
    weight = next(value for name, value in model.named_parameters() if name.endswith(f"layers.{layer}.mlp.fc2.weight"))
    with torch.no_grad():
        weight *= 1.001
    theirs = capture_transformers(model.to(torch.float32), case.pixels)
    first = compare(case.trace, theirs).first_divergent
    assert first.name == f"vivit.encoder.layer.{layer}.output.dense"
