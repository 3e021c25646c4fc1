"""Tests of the deployment: the Ray cluster on EC2, the CloudFormation stacks, containers, monitoring. AWS is moto."""
