"""One finished run of the whole workflow, tiny, that the end-to-end tests look at or copy."""

from pathlib import Path

import pytest
from e2e.checkout import Checkout

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A checkout in which the whole workflow has run, as users start it. Not to be changed: `copy` it."""
    checkout = Checkout.fresh(tmp_path_factory.mktemp("finished"))
    checkout.run()
    return checkout


@pytest.fixture
def clone(finished, tmp_path):
    """A copy of `finished` to change."""
    return finished.copy(tmp_path / "clone")


@pytest.fixture
def fresh(finished, tmp_path):
    """A checkout in which nothing has run, but whose kernels are compiled."""
    return finished.clean(tmp_path / "fresh")
