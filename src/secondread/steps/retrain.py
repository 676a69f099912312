"""Train what a search found best, as a candidate for the registry."""

from secondread.config import RunConfig
from secondread.steps.train import train
from secondread.tracking.run import Run
from secondread.tracking.search import retrained


def retrain(config: RunConfig, search: Run) -> str:
    """Train a configuration below a search's run; what was trained there already is not trained again.

    Args:
        search: open in this process, or joined.
    Returns:
        the run's id.
    Raises:
        SecondReadError: the images or the configuration cannot be used.
    """
    return retrained(search, config) or train(config, "retrain", search)
