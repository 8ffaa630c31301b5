"""What Ringfence costs, as ratios against named peers that are measured in the same run.

Times on their own say more about the machine than about the code, so a figure here is a ratio: ours
and a peer's, taken in turns. The limits are in :mod:`bench.bounds`; a run that misses one ends 1.
"""
