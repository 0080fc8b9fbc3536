"""What the stories of this tier are told with: a real control plane, its API, its audit log, and the operator as a process."""
