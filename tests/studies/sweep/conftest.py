import pytest
from sweeptools import KnownScores
from synthetic import write_rows

from trunkline.studies.sweep import search, winner


@pytest.fixture(scope="session")
def sweep_rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("sweep-rows") / "rows.jsonl", 60)


@pytest.fixture
def known_scores(monkeypatch):
    """Runs with known scores, at once, in the place of those that `fit` trains."""
    found = KnownScores()
    monkeypatch.setattr(search, "fit", found)
    monkeypatch.setattr(winner, "fit", found)
    return found
