"""The hostile job: a command like any other, run under a fence, that tries to get past it.

It judges nothing. It carries out a plan and prints each answer, as the other side gave it; the demo
reads them back from the run's log. See :mod:`ringfence.demo.attempts` for the plan.
"""
