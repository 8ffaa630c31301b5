"""Child processes: their isolation, their environment, their output, their end.

Nothing is imported here, since starting up is measured: ``process`` has :func:`~.process.execute`,
``environment`` has :func:`~.environment.child_environment`, ``confine`` what confinement means.
"""
