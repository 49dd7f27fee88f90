"""What the settings refuse, and what they carry for the forms that are made of them."""

import pytest
from pydantic import ValidationError

from rnn_model.config import QUANTILES, FitConfig, ModelConfig, Section, SyntheticConfig

SECTIONS = [ModelConfig, FitConfig, SyntheticConfig]


@pytest.mark.parametrize("section", SECTIONS)
def test_an_unknown_name_is_refused(section: type[Section]) -> None:
    with pytest.raises(ValidationError, match="learning_rte"):
        section(learning_rte=0.1)


@pytest.mark.parametrize("section", SECTIONS)
def test_settings_cannot_be_changed(section: type[Section]) -> None:
    made = section()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(made, next(iter(section.model_fields)), 1)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_knob_says_what_it_is(section: type[Section]) -> None:
    assert [name for name, field in section.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("section", SECTIONS)
def test_settings_survive_json(section: type[Section]) -> None:
    assert section.model_validate_json(section().model_dump_json()) == section()


@pytest.mark.parametrize(
    ("section", "wrong"),
    [
        (ModelConfig, {"cell": "transformer"}),
        (ModelConfig, {"num_layers": 0}),
        (ModelConfig, {"width": 0}),
        (ModelConfig, {"context": 0}),
        (FitConfig, {"steps": 0}),
        (FitConfig, {"batch_size": 0}),
        (FitConfig, {"learning_rate": 0.0}),
        (FitConfig, {"learning_rate": float("nan")}),
        (FitConfig, {"warmup": 0.6}),
        (FitConfig, {"averaging": 1.0}),
        (FitConfig, {"clip": 0.0}),
        (FitConfig, {"patience": 0}),
        (SyntheticConfig, {"series": 0}),
        (SyntheticConfig, {"length": 16}),
    ],
)
def test_a_value_out_of_bounds_is_refused(section: type[Section], wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        section(**wrong)


@pytest.mark.parametrize(("context", "patch", "advice"), [(100, 8, 96), (8, 64, 64), (9, 9, None)])
def test_context_is_whole_patches_and_the_error_says_which_length_is(
    context: int, patch: int, advice: int | None
) -> None:
    if advice is None:
        assert ModelConfig(context=context, patch=patch).context == context
        return
    with pytest.raises(ValidationError, match=f"context {context} is not a multiple of patch {patch}; use {advice}"):
        ModelConfig(context=context, patch=patch)
    assert ModelConfig(context=advice, patch=patch).context == advice


def test_quantiles_are_the_nine_deciles() -> None:
    assert pytest.approx([i / 10 for i in range(1, 10)]) == QUANTILES
