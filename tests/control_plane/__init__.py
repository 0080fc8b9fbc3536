"""Against a real control plane (etcd, API server, controller manager, scheduler) with KWOK nodes instead of machines.

KWOK makes pods Running and Ready, but nothing runs in them: no Patroni, no NATS. So nothing here becomes `Ready`; the stories
look at what the API server refuses, at children, conditions and reasons, and at what the operator wrote (the audit log).
"""
