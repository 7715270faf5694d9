"""The compiled training step on a GPU host that has JAX and PyTorch, and no TensorFlow.

XLA compiles the step for whatever device it is lowered to. Where TensorFlow is, the step is written
as HLO, corruption, objective, backward pass and Adam included:

    python benchmarks/gpu_step.py FOLDER --lower [--preset paper] [--shapes 32x128 16x256 8x512]

The GPU host needs this file, measure.py, torch_peers.py and the folder. There JAX compiles and
times it on uniform noise, beside the same network in PyTorch (channels last, TF32 and bfloat16,
fused Adam, no corruption) and beside products of large matrices:

    python gpu_step.py FOLDER [--rounds 5] [--out FILE.json]

Dilated kernels have all taps in PyTorch, and on small images the live ones alone in the step.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measure import here, medians, training_step

_STEPS = 20
_PRODUCT = 8192
# Table 1 at full width and 512², forward; a step is three times as much (docs/performance.md).
_OPERATIONS = 199e9


def lower(folder: Path, preset: str, shapes: Sequence[str]) -> None:
    """Writes the step of each shape, with the values its variables start with."""
    import tensorflow as tf

    from ssae_tf.config import override
    from ssae_tf.config import preset as settings_of

    folder.mkdir(parents=True, exist_ok=True)
    config = override(settings_of(preset), {"training.jit": True})
    for shape in shapes:
        batch, side = map(int, shape.split("x"))
        step: Any = training_step(config, side)
        given = tf.constant(0), tf.zeros((batch, side, side, 3))
        traced = step.get_concrete_function(*given)
        (folder / f"{shape}.hlo").write_bytes(
            step.experimental_get_compiler_ir(*given)(stage="hlo_serialized")
        )
        variables = [
            next(v for v in traced.graph.variables if v.handle is handle)
            for handle in traced.captured_inputs
        ]
        values: dict[str, Any] = {f"{k:04d}": np.asarray(v) for k, v in enumerate(variables)}
        np.savez(folder / f"{shape}.npz", **values)


def in_jax(folder: Path, shape: str) -> Callable[[], object]:
    """Some steps one after the other, as one program."""
    import jax
    import jax.numpy as jnp
    from jax._src.export import _export
    from jax._src.interpreters import mlir
    from jaxlib import _jax, xla_client
    from jaxlib.mlir import ir

    # Adam counts in 64 bits.
    jax.config.update("jax_enable_x64", True)
    computation = xla_client.XlaComputation((folder / f"{shape}.hlo").read_bytes())
    program = computation.program_shape()
    arguments = [
        jax.ShapeDtypeStruct(one.dimensions(), one.numpy_dtype())
        for one in program.parameter_shapes()
    ]
    results = [
        jax.ShapeDtypeStruct(one.dimensions(), one.numpy_dtype())
        for one in program.result_shape().tuple_shapes()
    ]

    def like_it(*values: jax.Array) -> list[jax.Array]:
        total = sum(jnp.sum(value).astype(jnp.float32) for value in values)
        return [jnp.full(one.shape, total, one.dtype) for one in results]

    # JAX has no public way from a program to a function: that of one like it takes its place.
    platform = "cuda" if jax.default_backend() == "gpu" else jax.default_backend()
    exported = jax.export.export(jax.jit(like_it), platforms=[platform])(*arguments)
    text = _jax.mlir.xla_computation_to_mlir_module(computation)
    with mlir.make_ir_context():
        # Which the conversion leaves behind, and does nothing.
        module = ir.Module.parse(text.replace("mhlo.copy ", "stablehlo.convert "))
        exported = dataclasses.replace(
            exported, mlir_module_serialized=_export._module_to_bytecode(module), _get_vjp=None
        )
    values = [jnp.asarray(value) for value in np.load(folder / f"{shape}.npz").values()]
    # The learning rate is read, and not written.
    scalars = [k for k, value in enumerate(values) if value.shape == ()]
    (rate,) = (k for k in scalars if values[k].dtype.kind == "f")
    x = jnp.asarray(np.random.default_rng(0).random(arguments[1].shape, dtype=np.float32))

    @jax.jit
    def steps(variables: list[jax.Array]) -> tuple[list[jax.Array], jax.Array]:
        def one(carry: list[jax.Array], index: jax.Array) -> tuple[list[jax.Array], jax.Array]:
            loss, _, _, *new = exported.call(index, x, *carry)
            return [*new[:rate], carry[rate], *new[rate:]], loss

        return jax.lax.scan(one, variables, jnp.arange(_STEPS, dtype=jnp.int32))

    def run() -> None:
        losses = np.asarray(steps(values)[1])
        assert np.isfinite(losses).all()

    return run


def in_torch(shape: str, *, brain_floats: bool) -> Callable[[], object]:
    """The same steps of the same network in PyTorch, uncorrupted."""
    import torch
    from torch_peers import network, objective

    batch, side = map(int, shape.split("x"))
    model = network(1.0, (2, 2, 2, 2, 2)).cuda().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)
    x = torch.rand(batch, 3, side, side, device="cuda").to(memory_format=torch.channels_last)
    mask = (torch.rand_like(x) > 0.5).float()

    def run() -> None:
        for _ in range(_STEPS):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cuda", torch.bfloat16, enabled=brain_floats):
                output = model(x * (1 - mask))
            objective(output.float(), x, mask, "l2").backward()
            optimizer.step()
        torch.cuda.synchronize()

    return run


def product(*, brain_floats: bool) -> Callable[[], object]:
    """The ceiling: as many products of large matrices."""
    import torch

    kind = torch.bfloat16 if brain_floats else torch.float32
    square = torch.randn(_PRODUCT, _PRODUCT, device="cuda", dtype=kind)

    def run() -> None:
        for _ in range(_STEPS):
            torch.matmul(square, square)
        torch.cuda.synchronize()

    return run


def seconds(run: Callable[[], object], rounds: int) -> float:
    """Of one of the steps that a call takes, the median of some calls; one before warms up."""
    return medians({"": here(run)}, rounds)[""] / _STEPS


def measure(folder: Path, rounds: int) -> dict[str, Any]:
    """Milliseconds a step and teraflops a second, by shape and engine."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    precisions = {"tf32": False, "bfloat16": True}
    found: dict[str, Any] = {}
    for name, brain_floats in precisions.items():
        rate = 2 * _PRODUCT**3 / seconds(product(brain_floats=brain_floats), rounds)
        found[f"matrix product, {name}"] = {"teraflops": rate / 1e12}
    for path in sorted(folder.glob("*.hlo"), key=lambda one: int(one.stem.split("x")[1])):
        batch, side = map(int, path.stem.split("x"))
        engines = {"the step, by JAX": in_jax(folder, path.stem)}
        for name, brain_floats in precisions.items():
            engines[f"PyTorch, {name}"] = in_torch(path.stem, brain_floats=brain_floats)
        for name, run in engines.items():
            one = seconds(run, rounds)
            operations = 3 * _OPERATIONS * batch * (side / 512) ** 2
            row = {"ms": 1e3 * one, "images": batch / one, "teraflops": operations / one / 1e12}
            found[f"{path.stem}, {name}"] = row
            print(path.stem, name, {key: round(value, 1) for key, value in row.items()}, flush=True)
    return found


def main() -> None:
    """Lowers, or measures and keeps the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lower", action="store_true", help="write the steps into the folder")
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--shapes", nargs="+", default=["32x128", "16x256", "8x512"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.lower:
        lower(arguments.folder, arguments.preset, arguments.shapes)
        return
    found = measure(arguments.folder, arguments.rounds)
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
