"""What is searched: the learning rate, the size of the embedding, and the weights of the terms that the method has.

A bundle that the run begins with decides the size of the embedding.

The search begins at the values of the run's own options, and its ranges hold them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..config import Weights
from ..methods import TERMS
from ..settings import settable_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    import optuna

    from ..config import TrainingConfig

LEARNING_RATE, EMBEDDING = "learning-rate", "embedding"

LAMBDAS: Mapping[str, str] = {each.setting.name: each.name for each in settable_fields(Weights)}
"""The option of each λ, and the term that it weighs."""

LEARNING_RATES = (3e-4, 1e-2)
"""On a logarithmic scale."""

LAMBDA_FACTOR = 10
"""A λ is searched from a tenth of its first value to ten times that, on a logarithmic scale."""

EMBEDDINGS = (64, 128, 256, 512)


def first(config: TrainingConfig) -> dict[str, float | int]:
    """Return the parameters at which the search begins, by the name of their option.

    Of the λs there are those of the method's terms; a term that is switched off with a weight of 0 stays off.
    """
    terms = TERMS.get(config.method, ())
    weights = {option: getattr(config.weights, term) for option, term in LAMBDAS.items() if term in terms}
    return {
        LEARNING_RATE: config.learning_rate,
        **({} if config.origin else {EMBEDDING: config.embedding}),
        **{option: weight for option, weight in weights.items() if weight > 0},
    }


def suggest(trial: optuna.Trial, config: TrainingConfig) -> None:
    """Have a trial's sampler choose each parameter, where it is searched."""
    low, high = LEARNING_RATES
    trial.suggest_float(LEARNING_RATE, min(low, config.learning_rate), max(high, config.learning_rate), log=True)
    if not config.origin:
        trial.suggest_categorical(EMBEDDING, sorted({*EMBEDDINGS, config.embedding}))
    for option, weight in first(config).items():
        if option in LAMBDAS:
            trial.suggest_float(option, weight / LAMBDA_FACTOR, weight * LAMBDA_FACTOR, log=True)


def configure(config: TrainingConfig, parameters: Mapping[str, float]) -> TrainingConfig:
    """Return the run with these parameters in place of its own."""
    weights = {term: parameters[option] for option, term in LAMBDAS.items() if option in parameters}
    return replace(
        config,
        learning_rate=parameters[LEARNING_RATE],
        embedding=int(parameters.get(EMBEDDING, config.embedding)),
        weights=replace(config.weights, **weights),
    )
