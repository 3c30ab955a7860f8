"""Rows of every kind."""

import pytest
from standards import variants


@pytest.fixture(params=list(variants()), ids=lambda pair: pair[0])
def features(request):
    return request.param[1]
