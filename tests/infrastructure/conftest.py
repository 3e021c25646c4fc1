"""Seatline's stacks, created in moto as far as moto supports them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.infrastructure import templates

REGION = "eu-central-1"
NAME = "seatline"
IMAGE = "ami-0123456789abcdef0"
IMAGE_PARAMETER = "/test/image"


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The environment points to moto, and to credentials and a home that are nobody's."""
    home = tmp_path_factory.mktemp("home")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": str(home / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(home / "none"),
            "HOME": str(home),  # Ray writes key files there
        }.items():
            patch.setenv(name, value)
        yield
    server.stop()


@pytest.fixture(scope="session")
def stacks(aws: None) -> None:
    """All stacks that an installation needs, made one after the other."""
    boto3.client("ssm").put_parameter(Name=IMAGE_PARAMETER, Type="String", Value=IMAGE)
    certificate = boto3.client("acm").request_certificate(DomainName="register.example.edu")["CertificateArn"]
    parameters: dict[str, dict[str, str]] = {
        "edge": {"CertificateArn": certificate},
        "nodes": {"MailIdentity": "example.edu", "MailSender": "registrar@example.edu", "NodeImageId": IMAGE_PARAMETER},
        "monitoring": {"AlarmMail": "operators@example.edu"},
    }
    for name in templates.STACKS:
        create_stack(name, parameters.get(name, {}))


def create_stack(name: str, parameters: dict[str, str]) -> None:
    """Make one, and see that it is whole."""
    cloudformation: Any = boto3.client("cloudformation")
    body = templates.for_moto(templates.load(name), {"NodeImageId": IMAGE_PARAMETER})
    with warnings.catch_warnings():
        cloudformation.create_stack(
            StackName=f"{NAME}-{name}",
            TemplateBody=body,
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=["CAPABILITY_IAM"],
        )
    (stack,) = cloudformation.describe_stacks(StackName=f"{NAME}-{name}")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"


@pytest.fixture
def clean_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with what `make wheel` leaves in it."""
    (tmp_path / "dist").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path
