"""From a configuration to a run that is ready: the only place where objects are made from settings."""
