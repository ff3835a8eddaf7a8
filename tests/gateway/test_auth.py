"""etcd's Auth service before a real node without users."""

import pytest
from sampan.gateway import messages as pb

from .calls import Failed

AUTH = "/etcdserverpb.Auth/"


def test_nobody_is_asked(services):
    status = services.ask(AUTH + "AuthStatus", pb.AuthStatusRequest(), pb.AuthStatusResponse)
    assert status.enabled is False
    assert status.header.cluster_id != 0
    request = pb.AuthenticateRequest(name="a", password="b")
    with pytest.raises(Failed) as raised:
        services.ask(AUTH + "Authenticate", request, pb.AuthenticateResponse)
    assert raised.value.args == (9, "etcdserver: authentication is not enabled")
