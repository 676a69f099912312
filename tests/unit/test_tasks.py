"""Tasks: labels in their fixed order, and what a task's file must say."""

import pytest
from pydantic import ValidationError

from secondread.errors import ConfigError
from secondread.tasks import Task, load_task, task_names


def test_the_tasks_are_hemorrhage_and_pneumonia() -> None:
    assert task_names() == ("hemorrhage", "pneumonia")


def test_hemorrhage_asks_ct_for_any_bleeding_first_and_then_its_kinds() -> None:
    task = load_task("hemorrhage")
    kinds = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
    assert task.labels == ("any", *kinds)
    assert (task.primary, task.modalities) == ("any", ("CT",))


def test_pneumonia_asks_x_rays_for_one_thing() -> None:
    task = load_task("pneumonia")
    assert (task.labels, task.primary, task.modalities) == (("pneumonia",), "pneumonia", ("CR", "DX"))


def test_the_slices_of_a_head_combine_and_x_rays_do_not() -> None:
    assert (load_task("hemorrhage").combines_studies, load_task("pneumonia").combines_studies) == (True, False)


def test_columns_are_named_after_the_labels_in_their_order() -> None:
    task = load_task("hemorrhage")
    assert task.label_columns[:2] == ("label_any", "label_epidural")
    assert task.probability_columns[-1] == "probability_subdural"


@pytest.mark.parametrize("name", task_names())
def test_a_task_says_that_it_is_no_medical_device(name: str) -> None:
    assert "not a medical device" in load_task(name).intended_use


@pytest.mark.parametrize("name", ["stroke", "", "../pneumonia", "Pneumonia"])
def test_a_task_that_does_not_exist_is_refused_with_those_that_do(name: str) -> None:
    with pytest.raises(ConfigError, match=r"there is no such task; use one of hemorrhage, pneumonia"):
        load_task(name)


def test_the_primary_label_is_one_of_the_labels() -> None:
    said = load_task("pneumonia").model_dump()
    with pytest.raises(ValidationError, match="primary 'stroke' is not one of the labels"):
        Task(**said | {"primary": "stroke"})


def test_a_task_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_task("pneumonia").primary = "other"  # type: ignore[misc]  # the test is that it is refused
