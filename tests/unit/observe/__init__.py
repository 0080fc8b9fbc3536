"""From objects to an observation and to conditions."""
