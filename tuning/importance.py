"""Which parameters mattered, where the engine cannot say: a random forest's word, if the forest explains anything."""

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import RandomForestRegressor

from tuning.engine import Record
from tuning.findings import Findings
from tuning.space import Parameter

_FEWEST = 10  # measured trials
_ABSENT = -1.0  # a parameter whose condition did not hold


def forest_importances(findings: Findings) -> dict[str, float]:
    """Share of each parameter in what a random forest explains of the first objective, largest first.

    Returns:
        shares that sum to 1; {} when trials are too few, alike, or the forest predicts none that it has not seen.
    """
    trials, drawn = findings.finished, findings.drawn
    if len(trials) < _FEWEST or not drawn:
        return {}
    # Ranks: one diverged trial must not outweigh what the others tell.
    values = np.array([findings.goodness(trial)[0] for trial in trials]).argsort().argsort().astype(float)
    features = np.array([[_number(parameter, trial) for parameter in drawn] for trial in trials])
    forest = RandomForestRegressor(200, min_samples_leaf=2, oob_score=True, random_state=0).fit(features, values)
    if forest.oob_score_ <= 0 or len({trial.outcome.values[0] for trial in trials}) == 1:
        return {}
    shares: npt.NDArray[np.float64] = forest.feature_importances_
    found = {parameter.name: float(share) for parameter, share in zip(drawn, shares, strict=True)}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _number(parameter: Parameter, record: Record) -> float:
    value = record.trial.sampled.get(parameter.name)
    if value is None:
        return _ABSENT
    if parameter.choices:
        return float(list(parameter.choices).index(str(value)))
    return float(np.log(float(value)) if parameter.log else float(value))
