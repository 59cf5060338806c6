"""plan.yaml: kept, edited, refused when it makes no sense."""

import pytest
import yaml

from finescan.errors import InputError
from finescan.workflow.plan import Plan


def test_a_chosen_value_is_written_with_its_reason_and_comes_back(tmp_path):
    plan = Plan()
    plan.choose("train.minutes", 1.0, "One minute is enough for this overlap.")
    plan.choose("target.pixel_size_nm", (10.0, 9.5), "That of the fine scan.")
    plan.save(tmp_path / "plan.yaml")
    again = Plan.load(tmp_path / "plan.yaml")
    assert again.values == {"train.minutes": 1.0, "target.pixel_size_nm": [10.0, 9.5]}
    assert again.why["train.minutes"] == "One minute is enough for this overlap."


def test_an_edited_value_wins_over_the_automatic_one(tmp_path):
    plan = Plan()
    plan.choose("train.minutes", 1.0, "why")
    plan.save(tmp_path / "plan.yaml")
    body = yaml.safe_load((tmp_path / "plan.yaml").read_text())
    body["choices"]["train.minutes"]["value"] = 7
    body["choices"]["train.seed"] = 3  # the short form a person would type
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(body))
    again = Plan.load(tmp_path / "plan.yaml")
    assert again.choose("train.minutes", 1.0, "why") == 7
    assert again.choose("train.seed", 0, "why") == 3
    again.force("train.minutes", 2, "asked for")
    assert again.values["train.minutes"] == 2


def test_a_misspelt_choice_is_refused_with_the_nearest_name(tmp_path):
    (tmp_path / "plan.yaml").write_text("choices:\n  train.minuts: 3\n")
    with pytest.raises(InputError, match=r"no choice called 'train\.minuts'\. Did you mean 'train\.minutes'\?"):
        Plan.load(tmp_path / "plan.yaml")


@pytest.mark.parametrize("text", ["choices: [", "just words", "choices: 3", ""])
def test_a_damaged_plan_is_one_sentence(tmp_path, text):
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(InputError, match="not a readable plan"):
        Plan.load(tmp_path / "plan.yaml")
