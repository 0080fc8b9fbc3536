"""The API server, as the plugin needs it: a few requests with plain dicts, and errors that are sentences.

The Kubernetes client is imported when a connection is made: it takes a second to import, and `render` and `--help` need none.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Protocol

from kubectl_baas.errors import PluginError

Manifest = dict[str, Any]

_TIMEOUT_SECONDS = (5, 30)
"""To connect, to read: an API server that is down is told within seconds, a big list may take its time."""
_IN_CLUSTER_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class Api(Protocol):
    """What commands ask of an API server; tests answer in its place."""

    namespace: str
    """Namespace of the context."""
    server_time: datetime | None
    """The API server's clock, as its last answer told it; to whole seconds."""

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Manifest:
        """GET an object or a list."""

    def post(self, path: str, body: Manifest) -> Manifest:
        """Create an object."""


class Cluster:
    """A connection by kubeconfig, or from inside a pod.

    Raises:
        PluginError: there is no usable configuration, or (from every method) no answer or a refusal.
    """

    def __init__(self, context: str | None = None) -> None:
        import urllib3
        import yaml
        from kubernetes import client, config

        # Its retries, and that a kubeconfig says insecure-skip-tls-verify, are told to stderr in no words that help a user.
        logging.getLogger("urllib3").setLevel(logging.ERROR)
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        self.server_time: datetime | None = None
        settings = client.Configuration()
        settings.retries = 1
        kubeconfig = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
        try:
            if context is None and _in_cluster() and not Path(kubeconfig).exists():
                config.load_incluster_config(client_configuration=settings)
                self.namespace = _IN_CLUSTER_NAMESPACE.read_text().strip()
            else:
                config.load_kube_config(kubeconfig, context, client_configuration=settings, persist_config=False)
                self.namespace = _namespace_of(kubeconfig, context)
        except (config.ConfigException, OSError, yaml.YAMLError) as error:
            raise PluginError(f"no cluster to talk to: {_why(error, kubeconfig, context)} Check --context and KUBECONFIG.") from error
        self._host = settings.host
        self._api = client.ApiClient(settings)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Manifest:
        """GET an object or a list."""
        return self._request("GET", path, query=query)

    def post(self, path: str, body: Manifest) -> Manifest:
        """Create an object."""
        return self._request("POST", path, body=body)

    def _request(self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Manifest | None = None) -> Manifest:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        made = self._api.param_serialize(
            method, path, query_params=list((query or {}).items()), body=body, auth_settings=["BearerToken"],
            header_params={"Accept": "application/json", "Content-Type": "application/json"},
        )  # fmt: skip
        try:
            answer = self._api.call_api(*made, _request_timeout=_TIMEOUT_SECONDS)
            data = answer.read()
        except HTTPError as error:
            raise PluginError(f"the API server at {self._host} does not answer: {_root(error)}") from error
        except ApiException as error:
            raise _refusal(error.status, error.body or "", path) from error
        if answer.status >= 300:
            raise _refusal(answer.status, data, path)
        date = answer.getheader("Date")
        if date:
            self.server_time = parsedate_to_datetime(date)
        made_of = json.loads(data)
        if not isinstance(made_of, dict):
            raise PluginError(f"the API server answered {path} with something that is no object.")
        return made_of


def _in_cluster() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ and _IN_CLUSTER_NAMESPACE.exists()


def _why(error: Exception, kubeconfig: str, context: str | None) -> str:
    """What is wrong with a configuration, as a sentence: the library says `Invalid kube-config file` of all of it."""
    import yaml
    from kubernetes import config

    if not any(Path(each).exists() for each in kubeconfig.split(os.pathsep)):
        return f"there is no kubeconfig at {kubeconfig}."
    try:
        known = [each["name"] for each in config.list_kube_config_contexts(kubeconfig)[0]]
    except (config.ConfigException, OSError, yaml.YAMLError):
        known = []
    if known and context is not None and context not in known:
        return f"there is no context {context} in {kubeconfig}; it has {', '.join(known)}."
    return f"{str(error).rstrip('.')}."


def _namespace_of(kubeconfig: str, context: str | None) -> str:
    from kubernetes import config

    contexts, active = config.list_kube_config_contexts(kubeconfig)
    chosen = next((each for each in contexts if each["name"] == context), active)
    return str((chosen or {}).get("context", {}).get("namespace") or "default")


def _root(error: BaseException) -> str:
    """The last reason of a chain of wrapped connection errors: the only one that says something."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return _root(reason)
    cause = error.__cause__
    return cause.strerror if isinstance(cause, OSError) and cause.strerror else str(error)


def _refusal(status: int | None, body: str | bytes, path: str) -> PluginError:
    try:
        said = json.loads(body).get("message") or ""
    except (ValueError, AttributeError):
        said = ""
    match status:
        case 401:
            said = "the API server does not accept your credentials: log in again."
        case 404 if not said or said.startswith(("404", "the server could not find the requested resource")):
            said = f"the API server knows no {path}: are the CRDs of baas-operator installed? `kubectl baas doctor` says."
        case _ if not said:
            said = f"the API server answered {path} with HTTP {status}."
    return PluginError(said, status=status)
