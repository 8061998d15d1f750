"""TLS with a certificate made here."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from thalweg.core.errors import PlanError
from thalweg.log import Log
from thalweg.serve import ServeOptions, Server

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the command openssl makes the certificate")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*made, *named, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


def test_events_come_in_over_tls(log: Log, files: tuple[Path, Path]) -> None:
    cert, key = files
    with Server(ServeOptions(port=0, log=log.path, cert=cert, key=key)) as server:
        assert server.address.startswith("https://")
        with httpx.Client(base_url=server.address, verify=ssl.create_default_context(cafile=str(cert))) as client:
            assert client.post("/topics/orders/events", json=[{"id": "a"}]).status_code == 200
        with pytest.raises(httpx.ConnectError, match="certificate"):
            httpx.get(f"{server.address}/healthz")  # who does not know the certificate does not go on
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{server.address.replace('https', 'http')}/healthz")
    assert log.topic("orders").read()["id"].to_pylist() == ["a"]


def test_a_key_that_is_not_the_certificates_is_refused(log: Log, files: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = files
    swapped = ServeOptions(port=0, log=log.path, cert=key, key=cert)
    with pytest.raises(PlanError, match=r"TLS files .* cannot be used"):
        Server(swapped)
