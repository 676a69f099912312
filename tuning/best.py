"""The best trial as a configuration: as YAML for people, and once a seed for the registry's candidates."""

from pathlib import PurePath

import yaml

from secondread.config import RunConfig
from tuning.engine import Record
from tuning.plan import Plan

_IMAGES = ("data", "data.path", "data.evaluation")


def best_yaml(plan: Plan, best: Record) -> str:
    """Write settings that `python -m secondread train --config best.yaml` takes as they are.

    A folder of images that was typed as an absolute path is left out: it is this machine's alone.
    """
    typed = {key: yaml.safe_load(value) if key not in _IMAGES else value for key, value in plan.base.items()}
    told = {key: value for key, value in typed.items() if not (key in _IMAGES and PurePath(str(value)).is_absolute())}
    absent = sorted(typed.keys() - told.keys())
    left_out = "".join(f"# --{key} is to be given: it is another folder elsewhere\n" for key in absent)
    drawn = yaml.safe_dump(plan.space.settings(best.trial.sampled), sort_keys=False, allow_unicode=True)
    common = yaml.safe_dump({"task": plan.task, **told}, sort_keys=False, allow_unicode=True)
    heads = f"# Search {plan.name}: what every trial had\n", f"\n# what trial {best.trial.number} drew\n"
    return heads[0] + left_out + common + heads[1] + drawn


def candidates(plan: Plan, best: Record) -> list[RunConfig]:
    """The best configuration as often as it is to be trained again, each with a seed of its own."""
    config = plan.space.config(plan.task, plan.base, best.trial.sampled)
    seeds = range(config.train.seed, config.train.seed + plan.settings.retrain)
    return [config.model_copy(update={"train": config.train.model_copy(update={"seed": seed})}) for seed in seeds]
