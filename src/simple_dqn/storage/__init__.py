"""Everything on disk: atomic files, snapshots, checkpoints, the files of a run and its record.

Imports the objects whose state it stores; imported by ``environments``, ``callbacks`` and above.
"""
