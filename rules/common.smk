# What all rules share: the pipeline of this configuration, which knows every job (dclib.pipeline).

import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)

from dclib.pipeline import start
from dclib.pipeline.plan import AGGREGATES

PIPELINE = start.Pipeline(workflow)
config.clear()
config.update(PIPELINE.grid.config)

ENVIRONMENT = Path(workflow.basedir, "envs/dclib.yaml")
THREADS = config["execution"]["threads"]
LEARNT, SELECTED = PIPELINE.methods("learnt"), PIPELINE.methods("selected")
IMPORTED = PIPELINE.methods("imported")


wildcard_constraints:
    dataset=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    method="|".join([SELECTED, LEARNT, IMPORTED, PIPELINE.methods("whole")]),
    network=r"[A-Za-z0-9_-]+",
    eval_network=r"[A-Za-z0-9_-]+(?:\.(?!curve)[a-z][a-z0-9-]*)?",  # and the protocol
    ipc=r"[1-9][0-9]*|all",
    seed=r"0|[1-9][0-9]*",


onstart:
    # Before the first job; not in a dry run, nor for a single job on the node of a cluster.
    PIPELINE.hold()
