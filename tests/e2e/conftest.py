import subprocess

import pytest

from ..namespaces import why_not, within
from .cluster import Cluster
from .network import Network, Spread


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


@pytest.fixture
def make_spread(tmp_path, placement):
    """Makes one cluster whose members are in network namespaces."""
    network, made = Network(3), []
    try:
        network.make()
    except (OSError, subprocess.CalledProcessError) as error:
        network.remove()
        pytest.skip(why_not(error))

    def make(**options):
        made.append(Spread(tmp_path / "c", placement, network, **options))
        return made[-1]

    try:
        with within(network.router):
            yield make
    finally:
        for cluster in made:
            cluster.destroy()
        network.remove()
