"""The CloudFormation templates as plain data, whole and reduced to what moto supports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DIRECTORY = ROOT / "cluster" / "aws" / "cloudformation"
STACKS = ("network", "data", "edge", "nodes", "monitoring")
"""In the order in which they are made: later ones import what earlier ones export."""

NOT_IN_MOTO = {
    "AWS::CloudWatch::Alarm",
    "AWS::ElastiCache::ReplicationGroup",
    "AWS::ElastiCache::SubnetGroup",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription",
    "AWS::SQS::QueuePolicy",
    "AWS::SSM::Association",
    "AWS::SecretsManager::Secret",
}
"""Resources that moto's CloudFormation cannot make. docs/deploy-aws.md has the same list."""

NOT_SAID_BY_MOTO = {
    ("LoadBalancer", "LoadBalancerFullName"),
    ("Targets", "TargetGroupFullName"),
}
"""Attributes that moto does not know of resources that it makes."""

Template = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short tags."""


def _long_form(loader: yaml.SafeLoader, name: str, node: yaml.Node) -> Any:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if name == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {name if name in {"Ref", "Condition"} else f"Fn::{name}": value}


_Loader.add_multi_constructor("!", _long_form)


def load(name: str) -> Template:
    """The template of a stack, its functions in their long forms."""
    loaded: Template = yaml.load((DIRECTORY / f"{name}.yaml").read_text(encoding="utf-8"), _Loader)  # noqa: S506
    return loaded


def resources(template: Template, kind: str) -> dict[str, Any]:
    """The properties of all resources of a type, by logical id."""
    return {
        name: one.get("Properties", {})
        for name, one in template["Resources"].items()
        if one["Type"] == kind or one["Type"].startswith(f"{kind}::")
    }


def for_moto(template: Template, defaults: Mapping[str, str]) -> str:
    """The template as JSON without what moto cannot make. References to that become the text of its logical id.

    Args:
        defaults: new defaults of parameters; moto looks defaults up in its parameter store even if they are not used.
    """
    left_out = {name for name, one in template["Resources"].items() if one["Type"] in NOT_IN_MOTO}
    made = {
        **template,
        "Parameters": {
            name: {**one, "Default": defaults[name]} if name in defaults else one
            for name, one in template["Parameters"].items()
        },
        "Resources": {
            name: {key: value for key, value in one.items() if key != "DependsOn"}
            for name, one in template["Resources"].items()
            if name not in left_out
        },
    }
    for one in made["Resources"].values():
        if one["Type"] == "AWS::RDS::DBInstance":  # a parameter group made by a stack has no name there to refer to
            one["Properties"] = {
                key: value for key, value in one["Properties"].items() if key != "DBParameterGroupName"
            }
    return json.dumps(_without(made, left_out))


def _without(value: Any, left_out: set[str]) -> Any:
    if isinstance(value, list):
        return [_without(one, left_out) for one in value]
    if isinstance(value, str):
        for name in left_out:
            value = value.replace(f"${{{name}}}", name)
        return value
    if not isinstance(value, dict):
        return value
    asked = (value["Ref"], "Ref") if "Ref" in value else tuple(value.get("Fn::GetAtt", ()))
    if asked and (asked[0] in left_out or asked in NOT_SAID_BY_MOTO):
        return asked[0]
    return {key: _without(one, left_out) for key, one in value.items()}
