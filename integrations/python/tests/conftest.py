import numpy as np
import pytest

import elbow


@pytest.fixture(scope="session")
def gpu():
    """A missing adapter is a failure, never a skip."""
    return elbow.Gpu()


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def normal(rng):
    return lambda *shape: rng.standard_normal(shape, dtype=np.float32)
