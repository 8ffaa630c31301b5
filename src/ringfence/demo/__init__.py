"""The whole story on the embedded engine: real work in two tenants, then an attack on the fence.

:func:`ringfence.demo.story.play` plays it and returns what was seen; :mod:`ringfence.demo.show`
prints it. Nothing here is special to the demo: it uses what any engine would use.
"""
