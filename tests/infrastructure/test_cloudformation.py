"""The CloudFormation stacks: properties of the templates, and the resources that moto creates from them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3

from api.http.routing import Access
from api.resources.routes import API_ROUTES
from api.schemas.catalogue import CourseQuery
from cluster.aws.node_secrets import REFERENCE
from cluster.config.settings import Settings
from cluster.processes.api_server import KEEP_ALIVE_S
from tests.infrastructure import templates
from tests.infrastructure.conftest import NAME

FILES = sorted(templates.DIRECTORY.glob("*.yaml"))
ALL = {path.stem: templates.load(path.stem) for path in FILES}
RAY_YAML = (templates.ROOT / "ray_cluster.yaml").read_text(encoding="utf-8")


def one(stack: str, kind: str) -> dict[str, Any]:
    """The properties of the only resource of a type."""
    (properties,) = templates.resources(ALL[stack], kind).values()
    return dict(properties)


def walk(value: Any) -> Iterator[Any]:
    yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(child)


def test_cfn_lint_finds_nothing() -> None:
    command = [str(Path(sys.executable).with_name("cfn-lint")), *map(str, FILES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_stack_is_in_the_list_or_optional() -> None:
    assert set(ALL) == {*templates.STACKS, "cdn"}


def test_what_a_stack_imports_an_earlier_one_exports() -> None:
    exported: set[str] = set()
    for name in templates.STACKS:
        outputs = ALL[name]["Outputs"]
        imported = {
            node["Fn::ImportValue"]["Fn::Sub"]
            for node in walk(ALL[name])
            if isinstance(node, dict) and "Fn::ImportValue" in node
        }
        assert imported <= exported, name
        exported |= {output["Export"]["Name"]["Fn::Sub"] for output in outputs.values()}
        assert {output["Export"]["Name"]["Fn::Sub"] for output in outputs.values()} == {
            f"${{Name}}-{key}" for key in outputs
        }


# Who may reach what


def test_the_world_reaches_nothing_but_the_load_balancer() -> None:
    network = ALL["network"]
    inline = [
        (name, rule)
        for name, group in templates.resources(network, "AWS::EC2::SecurityGroup").items()
        for rule in group.get("SecurityGroupIngress", [])
    ]
    apart = [
        (rule["GroupId"]["Ref"], rule)
        for rule in templates.resources(network, "AWS::EC2::SecurityGroupIngress").values()
    ]
    rules = [*inline, *apart]
    assert len(rules) >= 8
    from_outside = {
        (group, rule["FromPort"], rule["ToPort"]) for group, rule in rules if "SourceSecurityGroupId" not in rule
    }
    assert from_outside == {("LoadBalancerGroup", 443, 443), ("LoadBalancerGroup", 80, 80)}


def test_data_is_reached_by_nodes_only() -> None:
    groups = templates.resources(ALL["network"], "AWS::EC2::SecurityGroup")
    for name, port in (("DatabaseGroup", 5432), ("CacheGroup", 6379)):
        (rule,) = groups[name]["SecurityGroupIngress"]
        assert (rule["FromPort"], rule["ToPort"]) == (port, port)
        assert rule["SourceSecurityGroupId"] == {"Ref": "NodeGroup"}


def statements(stack: str) -> Iterator[dict[str, Any]]:
    """Statements of policies of identities."""
    for node in walk(ALL[stack]["Resources"]):
        if isinstance(node, dict) and node.get("Effect") == "Allow" and "Resource" in node:
            yield node


def test_rights_are_on_things_wherever_aws_allows_it() -> None:
    without_resources = {
        "cloudwatch:PutMetricData",
        "elasticloadbalancing:DescribeTargetGroups",
        "elasticloadbalancing:DescribeTargetHealth",
        "ec2:DescribeInstances",
        "ec2:DescribeInstanceTypes",
        "ec2:DescribeImages",
        "ec2:DescribeSubnets",
        "ec2:DescribeSecurityGroups",
    }
    seen = 0
    for statement in statements("nodes"):
        seen += 1
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not any("*" in action for action in actions)
        if statement["Resource"] == "*":
            assert set(actions) <= without_resources
    assert seen >= 14


def test_the_autoscaler_starts_and_ends_only_nodes_of_its_cluster() -> None:
    for statement in statements("nodes"):
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        resource = json.dumps(statement["Resource"])
        if "ec2:TerminateInstances" in actions:
            assert statement["Condition"] == {"StringEquals": {"aws:ResourceTag/ray-cluster-name": {"Ref": "Name"}}}
        if "ec2:RunInstances" in actions and ":instance/" in resource:
            assert statement["Condition"] == {"StringEquals": {"aws:RequestTag/ray-cluster-name": {"Ref": "Name"}}}
        if "iam:PassRole" in actions:
            assert statement["Resource"] == {"Fn::GetAtt": ["WorkerRole", "Arn"]}


def test_nodes_may_read_the_secrets_that_they_are_told_to_write() -> None:
    """And the workers no other than the token of Ray."""
    head, workers = RAY_YAML.partition("worker_start_ray_commands")[::2]
    wanted_by = {"HeadRole": secret_names(head), "NodePolicy": secret_names(workers)}
    assert wanted_by["NodePolicy"] == {"ray-token"}
    made = {
        secret["Name"]["Fn::Sub"] for secret in templates.resources(ALL["data"], "AWS::SecretsManager::Secret").values()
    }
    assert made == {f"${{Name}}/{name}" for name in wanted_by["HeadRole"]}
    readable = {
        name: set(re.findall(r"secret:\$\{Name\}/([\w-]+)-\?{6}", json.dumps(ALL["nodes"]["Resources"][name])))
        for name in ("HeadRole", "NodePolicy", "WorkerRole")
    }
    assert readable["WorkerRole"] == set()
    assert readable["NodePolicy"] == wanted_by["NodePolicy"]
    assert readable["HeadRole"] | readable["NodePolicy"] == wanted_by["HeadRole"]


def secret_names(text: str) -> set[str]:
    filled = text.replace("${Name}", NAME)
    return {name.removeprefix(f"{NAME}/") for name in REFERENCE.findall(filled) if name.startswith(f"{NAME}/")}


# What must hold of the parts


def test_postgres_loses_nothing() -> None:
    database, parameters = one("data", "AWS::RDS::DBInstance"), one("data", "AWS::RDS::DBParameterGroup")["Parameters"]
    assert parameters["synchronous_commit"] == "on"
    assert parameters["rds.force_ssl"] == "1"
    for name in ("MultiAZ", "StorageEncrypted", "DeletionProtection"):
        assert database[name] is True
    assert database["PubliclyAccessible"] is False
    assert database["BackupRetentionPeriod"] >= 7
    assert ALL["data"]["Resources"]["Database"]["DeletionPolicy"] == "Snapshot"


def test_postgres_has_connections_for_twenty_workers() -> None:
    """Per worker: a section actor, and an API process with two pools of 4 + 4 and two loops."""
    parameters = one("data", "AWS::RDS::DBParameterGroup")["Parameters"]
    workers = 20
    assert int(parameters["max_connections"]) >= workers * (1 + 2 * 8 + 2) + 50


def test_exports_are_private() -> None:
    bucket = one("data", "AWS::S3::Bucket")
    blocked = bucket["PublicAccessBlockConfiguration"]
    assert len(blocked) == 4
    assert all(value is True for value in blocked.values())
    (expiry,) = bucket["LifecycleConfiguration"]["Rules"]
    assert (expiry["Status"], expiry["ExpirationInDays"]) == ("Enabled", {"Ref": "ExportDays"})
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}


def test_the_cache_is_private() -> None:
    cache = one("data", "AWS::ElastiCache::ReplicationGroup")
    assert cache["TransitEncryptionEnabled"] is cache["AtRestEncryptionEnabled"] is True
    assert "resolve:secretsmanager" in cache["AuthToken"]["Fn::Sub"]
    assert cache["NumCacheClusters"] == 2


def test_the_load_balancer_fits_the_api() -> None:
    balancer = one("edge", "AWS::ElasticLoadBalancingV2::LoadBalancer")
    attributes = {each["Key"]: each["Value"] for each in balancer["LoadBalancerAttributes"] if "Key" in each}
    assert int(attributes["idle_timeout.timeout_seconds"]) < KEEP_ALIVE_S
    targets = one("edge", "AWS::ElasticLoadBalancingV2::TargetGroup")
    assert targets["HealthCheckPath"] in {route.path for route in API_ROUTES if route.access is Access.PUBLIC}
    delays = {each["Key"]: each["Value"] for each in targets["TargetGroupAttributes"]}
    deadline_s = Settings.model_fields["request_deadline_ms"].default / 1000
    assert int(delays["deregistration_delay.timeout_seconds"]) > deadline_s
    https = ALL["edge"]["Resources"]["Https"]["Properties"]
    assert "TLS13" in https["SslPolicy"]
    http = ALL["edge"]["Resources"]["Http"]["Properties"]
    assert [action["Type"] for action in http["DefaultActions"]] == ["redirect"]


def test_figures_are_not_shown_to_the_world() -> None:
    rule = one("edge", "AWS::ElasticLoadBalancingV2::ListenerRule")
    (condition,) = rule["Conditions"]
    assert set(condition["PathPatternConfig"]["Values"]) == {"/metrics", "/ready"}
    assert [action["Type"] for action in rule["Actions"]] == ["fixed-response"]


# CloudFront


def behaviours() -> list[dict[str, Any]]:
    config = one("cdn", "AWS::CloudFront::Distribution")["DistributionConfig"]
    return [*config["CacheBehaviors"], {**config["DefaultCacheBehavior"], "PathPattern": "*"}]


def behaviour_of(path: str) -> dict[str, Any]:
    return next(each for each in behaviours() if fnmatchcase(path, each["PathPattern"]))


def is_cached(path: str) -> bool:
    return isinstance(behaviour_of(path)["CachePolicyId"], dict)


def test_cloudfront_keeps_what_is_the_same_for_everybody_and_nothing_else() -> None:
    paths = {re.sub(r"\{\w+\}", "1", route.path): route for route in API_ROUTES if route.method == "GET"}
    kept = {path for path in paths if is_cached(path)}
    assert kept == {"/api/courses", "/api/courses/1"}
    assert all(paths[path].access is Access.PUBLIC for path in kept)
    assert is_cached("/api/web/swagger-ui.css")
    assert not is_cached("/api/courses/1/sections"), "it has counts of seats, and a student must see their own at once"
    assert not is_cached("/api/ws")


def test_what_is_kept_depends_on_all_that_is_asked_and_on_nobody() -> None:
    policies = templates.resources(ALL["cdn"], "AWS::CloudFront::CachePolicy")
    for name, policy in policies.items():
        key = policy["CachePolicyConfig"]["ParametersInCacheKeyAndForwardedToOrigin"]
        assert key["HeadersConfig"] == {"HeaderBehavior": "none"}, name
        assert key["CookiesConfig"] == {"CookieBehavior": "none"}, name
    catalogue = policies["CatalogueCache"]["CachePolicyConfig"]["ParametersInCacheKeyAndForwardedToOrigin"]
    assert set(catalogue["QueryStringsConfig"]["QueryStrings"]) == set(CourseQuery.__struct_fields__)
    for each in behaviours():
        if isinstance(each["CachePolicyId"], dict):
            assert "OriginRequestPolicyId" not in each, "it would pass the token on"


def test_what_changes_anything_goes_through() -> None:
    assert {"POST", "DELETE"} <= set(behaviour_of("/api/enrollments")["AllowedMethods"])


# Made


def test_moto_makes_all_but_what_is_listed(stacks: None) -> None:
    cloudformation: Any = boto3.client("cloudformation")
    for name in templates.STACKS:
        found = cloudformation.describe_stack_resources(StackName=f"{NAME}-{name}")["StackResources"]
        made = {each["LogicalResourceId"] for each in found if "LogicalResourceId" in each}
        wanted = {
            key
            for key, each in ALL[name]["Resources"].items()
            if each["Type"] not in templates.NOT_IN_MOTO
            and each.get("Condition") not in {"HasWebAcl", "OnlyPrefixList"}
        }
        assert made == wanted


def test_no_group_that_was_made_is_open_to_the_world(stacks: None) -> None:
    groups = boto3.client("ec2").describe_security_groups(Filters=[{"Name": "tag:Name", "Values": [f"{NAME}-*"]}])
    opened = {
        (name, permission["FromPort"])
        for group in groups["SecurityGroups"]
        for name in [tag["Value"] for tag in group["Tags"] if tag["Key"] == "Name"]
        for permission in group["IpPermissions"]
        if permission["IpRanges"] or permission["Ipv6Ranges"]
    }
    assert len(groups["SecurityGroups"]) == 4
    assert opened == {(f"{NAME}-load-balancer", 443), (f"{NAME}-load-balancer", 80)}


def test_node_subnets_are_in_two_zones_and_give_no_public_addresses(stacks: None) -> None:
    found = boto3.client("ec2").describe_subnets(Filters=[{"Name": "tag:Name", "Values": [f"{NAME}-nodes-*"]}])[
        "Subnets"
    ]
    assert len({each["AvailabilityZone"] for each in found}) == 2
    assert not any(each["MapPublicIpOnLaunch"] for each in found)


def test_the_database_that_was_made(stacks: None) -> None:
    (database,) = boto3.client("rds").describe_db_instances()["DBInstances"]
    assert database["MultiAZ"]
    assert database["StorageEncrypted"]
    assert not database["PubliclyAccessible"]


def test_the_queue_that_was_made(stacks: None) -> None:
    sqs: Any = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName=f"{NAME}-notifications.fifo")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert attributes["FifoQueue"] == "true"
    assert json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"].endswith(f":{NAME}-notifications-dead.fifo")


def test_the_bucket_that_was_made(stacks: None) -> None:
    s3: Any = boto3.client("s3")
    # Other tests have had buckets in the same moto.
    made = boto3.client("cloudformation").list_stack_resources(StackName=f"{NAME}-data")["StackResourceSummaries"]
    (name,) = (one["PhysicalResourceId"] for one in made if one["ResourceType"] == "AWS::S3::Bucket")
    (rule,) = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"


def test_a_node_can_be_put_behind_the_load_balancer_that_was_made(stacks: None) -> None:
    balancing: Any = boto3.client("elbv2")
    (group,) = balancing.describe_target_groups(Names=[f"{NAME}-api"])["TargetGroups"]
    assert (group["TargetType"], group["HealthCheckPath"]) == ("ip", "/health")
    balancing.register_targets(TargetGroupArn=group["TargetGroupArn"], Targets=[{"Id": "10.40.32.7"}])
    (health,) = balancing.describe_target_health(TargetGroupArn=group["TargetGroupArn"])["TargetHealthDescriptions"]
    assert health["Target"] == {**health["Target"], "Id": "10.40.32.7", "Port": 8080}


# The dashboard


def test_the_dashboard_is_json_and_shows_what_there_is(stacks: None) -> None:
    body = json.loads(boto3.client("cloudwatch").get_dashboard(DashboardName=NAME)["DashboardBody"])
    shown = {metric[0] for widget in body["widgets"] for metric in widget["properties"]["metrics"]}
    assert {"Seatline", "AWS/ApplicationELB", "AWS/RDS", "AWS/SQS"} <= shown


def test_every_alarm_has_its_page_in_the_runbook() -> None:
    runbook = (templates.ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    alarms = templates.resources(ALL["monitoring"], "AWS::CloudWatch::Alarm")
    assert len(alarms) >= 10
    for alarm in alarms.values():
        heading = alarm["AlarmDescription"].removeprefix("docs/operations.md: ")
        assert f"### {heading}\n" in runbook, heading


def test_the_log_agent_gets_valid_settings() -> None:
    text = one("nodes", "AWS::SSM::Parameter")["Value"]["Fn::Sub"]
    settings = json.loads(text.replace("${Name}", NAME))
    groups = {each["log_group_name"] for each in settings["logs"]["logs_collected"]["files"]["collect_list"]}
    assert groups == {one("nodes", "AWS::Logs::LogGroup")["LogGroupName"]["Fn::Sub"].replace("${Name}", NAME)}
