# What all rules share: the pipeline of this configuration, which knows every job (dclib.pipeline).

import sys
from pathlib import Path

# Not `workflow.basedir`: that is the folder of a Snakefile that uses this one as a module.
HERE = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent
if (HERE / "dclib").is_dir():  # a checkout; otherwise it is installed
    sys.path.insert(0, str(HERE))

from dclib.pipeline import start
from dclib.pipeline.outputs import AGGREGATES

PIPELINE = start.Pipeline(workflow, config)
# A new dict: a Snakefile that uses this one as a module keeps its own.
config = PIPELINE.grid.config

ENVIRONMENT = HERE / "envs/dclib.yaml"
THREADS = config["execution"]["threads"]
LEARNT, SELECTED = PIPELINE.methods("learnt"), PIPELINE.methods("selected")
IMPORTED = PIPELINE.methods("imported")


wildcard_constraints:
    dataset=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    method="|".join([SELECTED, LEARNT, IMPORTED, PIPELINE.methods("whole")]),
    network=r"[A-Za-z0-9_-]+",
    eval_network=r"[A-Za-z0-9_-]+(?:\.(?!curve\.)[a-z][a-z0-9-]*)?",  # and the protocol
    ipc=r"[1-9][0-9]*|all",
    seed=r"0|[1-9][0-9]*",


onstart:
    # Before the first job; not in a dry run, nor for a single job on the node of a cluster.
    PIPELINE.hold()
