"""The controller: reconciles the cluster with its desired state. See controller.py. No request waits for it."""
