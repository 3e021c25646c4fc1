"""ray_cluster.yaml: valid for Ray, consistent with the stacks, and launched by Ray's own AWS code."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from pydantic import SecretStr

from cluster.cli import app
from cluster.config.settings import Settings
from cluster.processes.deployment import RAY_ENVIRONMENT
from scripts import ray_cluster
from tests.infrastructure import templates
from tests.infrastructure.conftest import IMAGE, NAME, REGION

TEXT = (templates.ROOT / "ray_cluster.yaml").read_text(encoding="utf-8")
ENVIRONMENTS = re.compile(r"cat > ~/seatline/(\S+) <<'END'\n(.*?)END\n", re.DOTALL)

Config = dict[str, Any]


def raw() -> Config:
    loaded: Config = yaml.safe_load(TEXT)
    return loaded


def prepare(text: str) -> Config:
    """As `ray up` prepares it."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config: Config = prepare_config(yaml.safe_load(text))
    validate_config(config)
    return config


def environment(name: str) -> dict[str, str]:
    """What a node finds in one of the files that set-up writes."""
    config = raw()
    commands = "\n".join([*config["setup_commands"], *config["head_setup_commands"]])
    found = dict(ENVIRONMENTS.findall(commands))
    return dict(line.split("=", 1) for line in found[name].splitlines() if not line.startswith("#"))


def start_command(config: Config, kind: str) -> str:
    (command,) = (one for one in config[f"{kind}_start_ray_commands"] if "ray start" in one)
    return str(command)


def options(command: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+)=(\S+)", command))


# What it says


def test_it_is_valid_for_ray() -> None:
    exports = dict.fromkeys(re.findall(r"\$\{(\w+)\}", TEXT), "x")
    config = prepare(ray_cluster.fill(TEXT, exports))
    assert config["max_workers"] == 20
    assert config["available_node_types"]["worker"]["min_workers"] == 2
    assert config["available_node_types"]["worker"]["max_workers"] == 20
    assert config["provider"]["cache_stopped_nodes"] is False


def test_nothing_of_rays_defaults_is_left_in_the_commands() -> None:
    """They would install a nightly wheel and show a dashboard to the network."""
    commands = yaml.safe_dump({key: value for key, value in raw().items() if key.endswith("_commands")})
    for unwanted in ("nightly", "ray-wheels", "latest/ray", "dashboard-host=0.0.0.0"):
        assert unwanted not in commands
    assert "--require-hashes" in commands
    assert options(start_command(raw(), "head"))["include-dashboard"] == "false"


def test_the_head_decides_nothing_and_every_worker_can_be_told_apart() -> None:
    types = raw()["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert options(start_command(raw(), "head"))["num-cpus"] == "0"
    assert [one["resources"].get("seatline_node") for name, one in types.items() if name != "head"] == [1]


def test_nodes_have_the_environment_that_the_cluster_code_counts_on() -> None:
    on_nodes = environment("environment")
    assert RAY_ENVIRONMENT.items() <= on_nodes.items()
    assert on_nodes["RAY_AUTH_TOKEN_PATH"] == "/run/seatline/ray-token"


def test_every_start_asks_for_the_token() -> None:
    config = raw()
    for kind in ("head", "worker"):
        commands = config[f"{kind}_start_ray_commands"]
        fetches = [index for index, one in enumerate(commands) if "node_secrets" in one and "ray-token=" in one]
        starts = [index for index, one in enumerate(commands) if "ray start" in one]
        assert fetches < starts
        assert all(". ~/seatline/environment" in commands[index] for index in starts)
    assert environment("environment")["RAY_AUTH_MODE"] == "token"


def test_the_files_that_set_up_writes_are_shell(tmp_path: Path) -> None:
    """Every environment file can be read by a shell, and the script for operators runs what it is given."""
    config = raw()
    home = tmp_path / "home"
    (home / "seatline").mkdir(parents=True)
    commands = [*config["setup_commands"], *config["head_setup_commands"]]
    written = [one for one in commands if one.startswith("cat > ~/seatline/")]
    assert len(written) == 4
    script = "\n".join(["set -eu", *written, "~/seatline/with sh -c 'echo $SEATLINE_ENV $RAY_AUTH_MODE'"])
    done = subprocess.run(
        ["bash", "-c", script],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "production token\n", "")


def test_no_secret_is_in_the_file() -> None:
    """Settings that are secret are read from files, which hold what Secrets Manager gave."""
    secret = {
        f"SEATLINE_{name.upper()}"
        for name, field in Settings.model_fields.items()
        if "SecretStr" in str(field.annotation)
    }
    assert "SEATLINE_JWT_SECRET" in secret
    assert SecretStr.__name__ in str(Settings.model_fields["jwt_secret"].annotation)
    named = set(re.findall(r"\b(?:SEATLINE_\w+|DATABASE_URL|REDIS_URL)(?==)", TEXT))
    assert named & {*secret, "DATABASE_URL", "REDIS_URL"} == set()
    assert {f"{one}_FILE" for one in secret} <= named


def test_workers_get_no_secret_but_the_token() -> None:
    written = re.findall(r'"([a-z-]+)=', "\n".join(raw()["worker_start_ray_commands"]))
    assert written == ["ray-token"]


def test_commands_of_seatline_exist() -> None:
    groups = {group.name: group.typer_instance for group in app.registered_groups if group.typer_instance is not None}
    known = {one.name or one.callback.__name__ for one in app.registered_commands if one.callback is not None}
    for group, typer_app in groups.items():
        known |= {f"{group} {one.name}" for one in typer_app.registered_commands}
    used = set(re.findall(r"(?<![\w/-])seatline (db \w+|\w+)", "\n".join(raw()["head_start_ray_commands"])))
    assert {"db upgrade", "serve"} <= used <= known


# Ports


def node_rules() -> dict[tuple[int, int], bool]:
    """What nodes take from nodes: ranges of ports."""
    network = templates.load("network")
    group = {"Ref": "NodeGroup"}
    return {
        (one["FromPort"], one["ToPort"]): True
        for one in templates.resources(network, "AWS::EC2::SecurityGroupIngress").values()
        if one["GroupId"] == group and one.get("SourceSecurityGroupId") == group
    }


@pytest.mark.parametrize("kind", ["head", "worker"])
def test_ports_of_ray_are_fixed_and_open_between_nodes(kind: str) -> None:
    given = options(start_command(raw(), kind))
    ports = {int(value) for name, value in given.items() if name.endswith("port") and "worker" not in name}
    ports |= {int(given["min-worker-port"]), int(given["max-worker-port"])}
    if kind == "worker":
        assert f"--address=$RAY_HEAD_IP:{options(start_command(raw(), 'head'))['port']}" in start_command(raw(), kind)
    assert len(ports) >= 8
    assert 6379 not in ports, "Redis's own"
    for port in ports:
        assert any(low <= port <= high for low, high in node_rules()), f"{port} is closed between nodes"
    assert (int(given["min-worker-port"]), int(given["max-worker-port"])) in node_rules()


def test_nothing_is_open_between_nodes_that_nobody_listens_on() -> None:
    given = options(start_command(raw(), "head"))
    listened = {int(value) for name, value in given.items() if name.endswith("port")}
    listened |= {22, int(environment("serve-environment")["PORT"])}
    for low, high in node_rules():
        assert {low, high} <= listened


def test_the_port_of_the_api_is_the_same_everywhere() -> None:
    port = int(environment("serve-environment")["PORT"])
    (targets,) = templates.resources(templates.load("edge"), "AWS::ElasticLoadBalancingV2::TargetGroup").values()
    network = templates.load("network")
    from_balancer = templates.resources(network, "AWS::EC2::SecurityGroupIngress")["ApiFromLoadBalancer"]
    (to_nodes,) = network["Resources"]["LoadBalancerGroup"]["Properties"]["SecurityGroupEgress"]
    assert {targets["Port"], from_balancer["FromPort"], from_balancer["ToPort"], to_nodes["FromPort"]} == {port}
    assert from_balancer["SourceSecurityGroupId"] == {"Ref": "LoadBalancerGroup"}
    assert port == Settings.model_fields["port"].default


# Filling it in


def test_what_no_stack_exports_is_named() -> None:
    with pytest.raises(ray_cluster.MissingOutputError, match="Other, Thing"):
        ray_cluster.fill("a: ${Thing}\nb: ${Other} ${Known}\n", {"Known": "x"})


def test_variables_of_the_shell_and_comments_stay() -> None:
    text = "# ${Names} are filled in\na: $RAY_HEAD_IP ${Known}\n"
    assert ray_cluster.fill(text, {"Known": "x"}) == "# ${Names} are filled in\na: $RAY_HEAD_IP x\n"


# Launched


def test_ray_launches_and_ends_it_on_aws(
    stacks: None, clean_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler.tags import TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE

    aws_nodes: Any = AWSNodeProvider  # it has no types
    assert ray_cluster.main([NAME, "--region", REGION]) == 0
    config = prepare(capsys.readouterr().out)
    config = aws_nodes.bootstrap_config(aws_nodes.fillout_available_node_types_resources(config))
    types = config["available_node_types"]
    assert types["worker"]["resources"] == {**types["worker"]["resources"], "CPU": 4, "seatline_node": 1}
    assert types["head"]["resources"] == {"CPU": 0}

    provider = aws_nodes(config["provider"], config["cluster_name"])
    for kind in ("head", "worker", "worker"):  # one by one: of several moto starts as few as it may
        tags = {TAG_RAY_NODE_KIND: kind, TAG_RAY_USER_NODE_TYPE: kind}
        provider.create_node(types[kind]["node_config"], tags, 1)
    workers = provider.non_terminated_nodes({TAG_RAY_NODE_KIND: "worker"})
    everything = provider.non_terminated_nodes({})
    assert (len(workers), len(everything)) == (2, 3)
    assert all(provider.is_running(node) for node in everything)

    instances = describe(everything)
    groups = boto3.client("ec2").describe_security_groups(Filters=[{"Name": "group-name", "Values": ["*NodeGroup*"]}])
    for node, instance in instances.items():
        assert instance["ImageId"] == IMAGE
        assert instance["MetadataOptions"]["HttpTokens"] == "required"
        assert "PublicIpAddress" not in instance
        assert provider.internal_ip(node).startswith("10.40.")
        assert {one["GroupId"] for one in instance["SecurityGroups"]} == {
            one["GroupId"] for one in groups["SecurityGroups"]
        }
        role = instance["IamInstanceProfile"]["Arn"]
        assert ("WorkerProfile" if node in workers else "HeadProfile") in role
        assert {"Key": "ray-cluster-name", "Value": NAME} in instance["Tags"]
    volumes = boto3.client("ec2").describe_volumes()["Volumes"]
    ours = [one for one in volumes if one["Attachments"][0]["InstanceId"] in instances]
    assert {(one["VolumeType"], one["Encrypted"]) for one in ours} == {("gp3", True)}
    assert sorted(one["Size"] for one in ours) == [30, 30, 40]

    provider.terminate_node(workers[0])
    assert len(provider.non_terminated_nodes({TAG_RAY_NODE_KIND: "worker"})) == 1
    provider.terminate_nodes(provider.non_terminated_nodes({}))
    assert provider.non_terminated_nodes({}) == []
    assert {one["State"]["Name"] for one in describe(everything).values()} == {"terminated"}


def describe(nodes: list[str]) -> dict[str, Any]:
    reservations = boto3.client("ec2").describe_instances(InstanceIds=nodes)["Reservations"]
    return {one["InstanceId"]: one for each in reservations for one in each["Instances"]}
