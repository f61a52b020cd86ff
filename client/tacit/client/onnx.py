"""The scorer of a released model as an ONNX graph, for apps that have an ONNX runtime anyway.

    items   int64  (n_history,)   places of distinct catalogue items, any order
    weights double (n_history,)   strength of each, above 0
    scores  double (n_items,)     higher is better, as `tacit.client.decide.scores`

The graph holds a public release and nothing of a person. It scores; what may be shown (guardrails,
what was met already) stays with `Personalizer`. ONNX has no solver of linear equations, so:

- taste directions: `(n P + V^-1) u = e` for every total weight n at once, from one factorisation
  `V^(1/2) P V^(1/2) = Q diag(l) Q^T`: `u = B diag(1 / (n l + 1)) B^T e` with `B = V^(1/2) Q`
  (simultaneous diagonalisation; Golub and Van Loan 2013, Matrix Computations, 4th ed., 8.7);
- item factors: `H = G + sum_i x_i z_i z_i^T` changes with the history. In the basis in which G is
  the identity it is the identity plus a matrix of rank at most n_history, so conjugate gradients
  end after at most `min(d, n_history) + 1` steps (op. cit., 11.3); `d` steps and a few for rounding
  are unrolled.

Needs the `onnx` extra; `tacit.client` alone does not import it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from tacit.client.decide import FactorModel, Model, ReleasedModel
from tacit.privacy.release import ReleaseManifest

_OPSET, _IR_VERSION = 17, 9
_EXTRA_STEPS = 8
_SOLVED = 1e-34
"""Squared residual, as a part of the first, below which a further step would only add rounding."""


def export_scorer(model: ReleasedModel, manifest: ReleaseManifest | None = None) -> bytes:
    """Return the graph, serialised.

    Args:
        model: a released model.
        manifest: what the coordinator signed about it; names the catalogue and the release in the
            file's metadata.
    """
    graph = _Graph()
    scores = _factors(graph, model) if isinstance(model, FactorModel) else _taste(graph, model)
    graph.name(scores, "scores")
    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "tacit-scorer",
            [
                helper.make_tensor_value_info("items", TensorProto.INT64, ["n_history"]),
                helper.make_tensor_value_info("weights", TensorProto.DOUBLE, ["n_history"]),
            ],
            [helper.make_tensor_value_info("scores", TensorProto.DOUBLE, [model.n_items])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        producer_name="tacit",
        ir_version=_IR_VERSION,
    )
    if manifest is not None:
        named = {
            "catalogue_sha256": manifest.catalogue_sha256,
            "model_sha256": manifest.model_sha256,
            "population": manifest.population,
            "task_sha256": manifest.task_sha256,
            "version": str(manifest.version),
        }
        helper.set_model_props(made, named)
    onnx.checker.check_model(made)  # pyright: ignore[reportUnknownMemberType]
    return bytes(made.SerializeToString())


class _Graph:
    """Nodes and constants of a graph; every method returns the name of a value."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: npt.ArrayLike, kind: Any = np.float64) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=kind), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def name(self, value: str, wanted: str) -> None:
        self.nodes.append(helper.make_node("Identity", [value], [wanted]))

    def gathered(self, rows: npt.NDArray[np.float64]) -> str:
        """Rows of the history's items, `(n_history, width)`."""
        return self.add("Gather", self.constant(rows), "items", axis=0)

    def flat(self, value: str) -> str:
        return self.add("Reshape", value, self.constant([-1], np.int64))

    def row(self, value: str) -> str:
        return self.add("Unsqueeze", value, self.constant([0], np.int64))

    def dot(self, left: str, right: str) -> str:
        product = self.add("Mul", left, right)
        return self.add("ReduceSum", product, keepdims=0)


def _taste(graph: _Graph, model: Model) -> str:
    spread = np.sqrt(model.prior_variance)
    values, vectors = np.linalg.eigh(spread[:, np.newaxis] * model.precision * spread)
    basis = spread[:, np.newaxis] * vectors
    evidence = (model.loadings / model.item_variance[:, np.newaxis] - model.drift) @ basis
    reach = (model.loadings @ basis) * model.item_scale[:, np.newaxis]
    total = graph.add("ReduceSum", "weights", keepdims=0)
    shrink = graph.add(
        "Add",
        graph.add("Mul", graph.constant(np.maximum(values, 0.0)), total),
        graph.constant(np.ones(len(values))),
    )
    seen = graph.add("MatMul", graph.row("weights"), graph.gathered(evidence))
    taste = graph.add("Div", graph.flat(seen), shrink)
    told = graph.add("MatMul", graph.constant(reach), taste)
    return graph.add("Add", told, graph.constant(model.item_scale * model.popularity))


def _factors(graph: _Graph, model: FactorModel) -> str:
    values, vectors = np.linalg.eigh(model.gramian)
    whitened = model.item_factors @ (vectors / np.sqrt(values))
    width = whitened.shape[1]
    rows = graph.gathered(whitened)
    residual = graph.flat(graph.add("MatMul", graph.row("weights"), rows))
    taste, direction = graph.constant(np.zeros(width)), residual
    size, none = graph.dot(residual, residual), graph.constant(0.0)
    solved = graph.add("Mul", size, graph.constant(_SOLVED))
    for _ in range(width + _EXTRA_STEPS):
        going = graph.add("Greater", size, solved)
        along = graph.add("Mul", "weights", graph.add("MatMul", rows, direction))
        # A vector on the left, no Transpose: onnxruntime 1.32 fuses one wrongly with a vector.
        pulled = graph.flat(graph.add("MatMul", graph.row(along), rows))
        image = graph.add("Add", direction, pulled)
        step = graph.add("Div", size, graph.dot(direction, image))
        step = graph.add("Where", going, step, none)
        taste = graph.add("Add", taste, graph.add("Mul", step, direction))
        residual = graph.add("Sub", residual, graph.add("Mul", step, image))
        left = graph.dot(residual, residual)
        turn = graph.add("Where", going, graph.add("Div", left, size), none)
        direction = graph.add("Add", residual, graph.add("Mul", turn, direction))
        size = left
    told = graph.add("MatMul", graph.constant(whitened), taste)
    total = graph.add("ReduceSum", "weights", keepdims=0)
    known = graph.add("Greater", total, graph.constant(0.0))
    return graph.add("Where", known, told, graph.constant(model.popularity))
