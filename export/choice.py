"""Which layers bear 8 bits: what each costs the map is measured, and the dearest are left out.

The map says how far a picture is from what is usual, in the logarithm of a few grey levels' error,
and after a long training a step of 8 bits in the wrong place is a good part of the threshold. How
much it is differs from layer to layer and from run to run. So it is simulated on pictures that the
artefact is not compared on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from ssae_tf.detector import Detector
from ssae_tf.export.names import ANOMALY_MAP
from ssae_tf.export.network import sources
from ssae_tf.export.pictures import Pictures
from ssae_tf.export.quantization import equalize, readers, round_weights
from ssae_tf.export.serving import Serving, network_of
from ssae_tf.models.graph import inbound, inputs_of
from ssae_tf.progress import Reporter, Task

# Of activations, between 0 and the highest.
ACTIVATION_STEPS = 255
# A network, and what is computed with it: from (1, H, W, 3) float32 to the map, (H, W).
Network = Callable[[tf.Tensor], tf.Tensor]
Inspect = Callable[[Network, tf.Tensor], tf.Tensor]
# A picture, (H, W, 3) float32 in [0, 1], and the detector's map of it.
Case = tuple[np.ndarray, np.ndarray]
# Cases that layers are chosen by.
_WORST = 12


@dataclass(frozen=True)
class Choice:
    """What is in 8 bits.

    Attributes:
        layers: names of ReLUs; the convolutions right before them are meant.
        convolutions: names of these.
        of: how many layers there are.
        share: of the network's multiply-adds that these layers are.
        lost: the largest difference of the map, as a share of the threshold, in simulation.
    """

    layers: tuple[str, ...]
    convolutions: tuple[str, ...]
    of: int
    share: float
    lost: float

    def to_dict(self) -> dict[str, Any]:
        """For metadata.json."""
        return {
            "eight_bits": {
                "layers": list(self.convolutions),
                "share_of_products": round(self.share, 4),
                "simulated_loss": round(self.lost, 4),
            }
        }

    def sentence(self) -> str:
        """The figures for a person."""
        return (
            f"{len(self.layers)} of {self.of} layers in 8 bits, {self.share:.0%} of the "
            f"multiply-adds: in simulation the map moves by {self.lost:.0%} of the threshold."
        )


def choose(
    network: tf.keras.Model,
    exact: list[np.ndarray],
    highest: Mapping[str, float],
    inspect: Inspect,
    cases: Sequence[Case],
    threshold: float,
    budget: float,
    reporter: Reporter,
    steps: int,
) -> Choice:
    """Chooses as many layers as keep the map within a budget.

    Args:
        network: what `round_weights` left. All layers but the chosen get their exact weights back.
        exact: these, of all layers.
        highest: of the outputs of each ReLU, by its name.
        inspect: the detector's map.
        cases: at least one.
        threshold: of the detector.
        budget: largest difference of the map, as a share of the threshold.
        reporter: where progress goes.
        steps: between 0 and the highest output; 0 where outputs are not rounded.
    """
    simulation = _Simulation(network, exact, highest, inspect, threshold, steps)
    layers = list(simulation.convolutions)
    everything = []
    with reporter.task("Simulating 8 bits", len(cases)) as task:
        for case in cases:
            everything += simulation.lost(layers, [case])
            task.advance()
    lost = max(everything)
    if lost > budget:
        # Where all of it loses most, parts of it do.
        cases = [cases[index] for index in np.argsort(everything)[-_WORST:]]
        costs = []
        with reporter.task("Measuring what each layer costs", len(layers)) as task:
            for layer in layers:
                costs.append(np.mean(simulation.lost([layer], cases)))
                task.advance()
        by_cost = [layers[index] for index in np.argsort(costs, kind="stable")]
        layers, lost = [], max(simulation.lost([], cases))
        first, last = 1, len(by_cost) - 1
        while first <= last:
            middle = (first + last) // 2
            found = max(simulation.lost(by_cost[:middle], cases))
            if found <= budget:
                layers, lost, first = by_cost[:middle], found, middle + 1
            else:
                last = middle - 1
    simulation.use(layers)
    chosen = {name: found for name, found in simulation.convolutions.items() if name in layers}
    return Choice(
        tuple(chosen),
        tuple(one for found in chosen.values() for one in found),
        len(simulation.convolutions),
        simulation.share(layers),
        lost,
    )


@dataclass(frozen=True)
class EightBits:
    """A network of which as much is in 8 bits as it bears.

    Attributes:
        network: with its weights; those of chosen layers are whole steps.
        highest: of the outputs of each ReLU, by its name.
        choice: which layers these are.
    """

    network: tf.keras.Model
    highest: dict[str, float]
    choice: Choice


def in_eight_bits(
    detector: Detector, pictures: Pictures, *, budget: float, steps: int, reporter: Reporter
) -> EightBits:
    """Puts as much of a detector's network into 8 bits as keeps the map within a budget.

    Args:
        detector: with a threshold.
        pictures: that ranges and losses are measured on.
        budget: as in `choose`.
        steps: of activations between 0 and the highest; 0 where the network computes in float.
        reporter: where progress goes.
    """
    assert detector.calibration is not None
    network = network_of(detector)
    seen = pictures.seen()
    with reporter.task("Finding ranges", len(seen)) as task:
        highest = equalize(network, _advancing(seen, task))
    exact = network.get_weights()
    reporter.say("Rounding weights to 8 bits …")
    round_weights(network, pictures.crops(), pictures.seed)
    serving = Serving.of(detector, has_reconstruction=False, has_verdict=False)

    def inspect(seen: Network, x: tf.Tensor) -> tf.Tensor:
        return serving(seen, x, tf.zeros(1))[ANOMALY_MAP][0]

    choice = choose(
        network,
        exact,
        highest,
        inspect,
        pictures.measured(),
        detector.calibration.threshold,
        budget,
        reporter,
        steps,
    )
    return EightBits(network, highest, choice)


def _advancing(pictures: Iterable[np.ndarray], task: Task) -> Iterator[np.ndarray]:
    for picture in pictures:
        yield picture
        task.advance()


class _Simulation:
    """A network with some of its layers in 8 bits.

    Attributes:
        convolutions: the convolutions of each layer, by the name of its ReLU.
    """

    def __init__(
        self,
        network: tf.keras.Model,
        exact: list[np.ndarray],
        highest: Mapping[str, float],
        inspect: Inspect,
        threshold: float,
        steps: int,
    ) -> None:
        self.network = network
        self.rounded = {one.name: one.get_weights() for one in network.layers if one.weights}
        network.set_weights(exact)
        self.exact = {name: network.get_layer(name).get_weights() for name in self.rounded}
        self.highest = highest
        self.steps = steps
        self.threshold = threshold
        relus = [one for one in network.layers if isinstance(one, tf.keras.layers.ReLU)]
        before = {relu.name: [one.name for one in sources(relu)] for relu in relus}
        self.convolutions = {
            name: found
            for name, found in before.items()
            if all(one in self.rounded for one in found)
        }
        # The layers that read each layer's output.
        self.readers = {
            relu.name: {
                name
                for name, found in self.convolutions.items()
                for reader in readers(network, relu)
                if reader.name in found
            }
            for relu in relus
        }

        @tf.function(
            autograph=False,
            input_signature=[
                tf.TensorSpec((1, None, None, 3), tf.float32),
                tf.TensorSpec((len(relus),), tf.float32),
            ],
        )
        def map_of(x: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
            by_name = dict(zip([relu.name for relu in relus], tf.unstack(step), strict=True))
            return inspect(lambda seen: _with_steps(network, seen, by_name, steps), x)

        self.map_of = map_of

    def use(self, layers: Sequence[str]) -> None:
        """Gives some layers their rounded weights, and the others their exact ones."""
        for name, found in self.convolutions.items():
            weights = self.rounded if name in layers else self.exact
            for one in found:
                self.network.get_layer(one).set_weights(weights[one])

    def lost(self, layers: Sequence[str], cases: Sequence[Case]) -> list[float]:
        """What the map of each case differs by, at the threshold, as a share of it."""
        self.use(layers)
        step = np.zeros(len(self.readers), np.float32)
        for index, (name, behind) in enumerate(self.readers.items()):
            if self.steps and (name in layers or behind.intersection(layers)):
                step[index] = self.highest[name]
        found = []
        for picture, expected in cases:
            apart = np.abs(self.map_of(picture[None], step).numpy() - expected)
            times = np.maximum(1.0, expected / self.threshold)
            found.append(float((apart / times).max()) / self.threshold)
        return found

    def share(self, layers: Sequence[str]) -> float:
        """That some layers have of the network's multiplications."""
        of_layer = {one: name for name, found in self.convolutions.items() for one in found}
        area: dict[str, float] = {}
        products = {True: 0.0, False: 0.0}
        for layer in self.network.layers:
            is_input = isinstance(layer, tf.keras.layers.InputLayer)
            own = 1.0 if is_input else area[inbound(layer)[0].name]
            if layer.weights:
                size = np.prod(layer.weights[0].shape)
                products[of_layer.get(layer.name) in layers] += own * float(size)
            if isinstance(layer, tf.keras.layers.MaxPooling2D):
                own /= 4.0
            elif isinstance(layer, tf.keras.layers.Conv2DTranspose):
                own *= 4.0
            area[layer.name] = own
        return products[True] / max(sum(products.values()), 1e-12)


def _with_steps(
    network: tf.keras.Model, x: tf.Tensor, highest: Mapping[str, tf.Tensor], steps: int
) -> tf.Tensor:
    """F(X) with the outputs of ReLUs rounded, where their highest is not 0."""
    values: dict[str, tf.Tensor] = {}
    for layer in network.layers:
        if isinstance(layer, tf.keras.layers.InputLayer):
            values[layer.name] = x
            continue
        value = layer(inputs_of(layer, values))
        if layer.name in highest:
            top = highest[layer.name]
            step = tf.maximum(top, 1e-12) / max(steps, 1)
            value = tf.where(top > 0.0, tf.round(tf.minimum(value, top) / step) * step, value)
        values[layer.name] = value
    return values[network.layers[-1].name]
