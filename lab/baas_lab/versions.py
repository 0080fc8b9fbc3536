"""Every version that the lab uses, in one place."""

from __future__ import annotations

# 1.34 is the last Kubernetes whose kubelet starts on cgroup v1 without being told to, and the lab must run there too.
KUBERNETES = "1.34.4"
KUBERNETES_PUBLISHED = "1.34.3"  # the 1.34 that the kind project publishes a node image of
ETCD = "3.6.8"
COREDNS = "1.12.1"
CNI_PLUGINS = "1.9.1"
LOCAL_PATH_PROVISIONER = "0.0.30"
KIND = "0.33.0"
KWOK = "0.8.0"
HELM = "3.22.0"
KUBECONFORM = "0.8.0"

# systemd 256 and newer refuse cgroup v1, bookworm has 252: the nodes are bookworm. The operands are trixie.
NODE_SUITE = "bookworm"
DEBIAN_SUITES = ("bookworm", "trixie")
