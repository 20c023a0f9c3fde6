"""The page about the manifest describes every field of manifests and statistics, and nothing else."""

import re
from pathlib import Path

import pytest

from featurestore import FeatureStore
from featurestore.pipelines.training_sets import manifest
from tests import shop

PAGE = (Path(__file__).parent.parent.parent / "docs" / "manifest.md").read_text()


def described_names(title: str) -> set[str]:
    """The names in backticks in the first column of a section's tables."""
    text = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    (section,) = [part for part in text if part.startswith(f"{title}\n")]
    cells = re.findall(r"^\| ([^|]*) \|", section, flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.slow
def test_every_field_is_described(own_shop: FeatureStore) -> None:
    made = own_shop.training_set("churn", shop.spine(), "asked_at", label="churned")
    assert described_names("Fields") == set(made.manifest)
    assert f"| `manifest_version` | {manifest.VERSION}:" in PAGE
    said = {name for column in made.statistics["columns"].values() for name in column}
    section = PAGE.partition("## Statistics")[2]
    assert said <= set(re.findall(r"`(\w+)`", section))
