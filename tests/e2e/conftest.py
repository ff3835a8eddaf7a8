import pytest

from .cluster import Cluster


@pytest.fixture(params=["processes", "fused"])
def placement(request):
    return request.param


@pytest.fixture
def make_cluster(tmp_path, placement):
    """Starts clusters; whatever happened, nothing of them is left afterwards."""
    made = []

    def make(**options):
        options.setdefault("placement", placement)
        cluster = Cluster(tmp_path / f"c{len(made)}", options.pop("placement"), **options)
        made.append(cluster)
        return cluster

    yield make
    for cluster in made:
        cluster.destroy()
