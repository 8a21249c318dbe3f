"""The profiles, as far as they can be tried without a cluster; tests/slurm has one."""

import re

import pytest
import yaml
from conftest import ROOT
from workflow.test_pipeline import clone, folder


def test_the_default_profile_sets_nothing_that_the_cluster_wants_otherwise():
    """It is loaded by itself, and what it sets is not to be overridden with --profile."""
    default, slurm = (
        yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text())
        for name in ("default", "slurm")
    )
    assert default == {key: slurm[key] for key in default}


@pytest.mark.parametrize("option", ["--profile", "--workflow-profile"])
def test_what_jobs_ask_a_cluster_for(tmp_path, option):
    project = clone(tmp_path)
    project.configure(
        resources={
            "condense": {"mem_mb": 700, "runtime": 90},
            "select": {"mem_mb": 300, "runtime": 5},
            "max_runtime": 60,
        }
    )
    targets = [f"results/{folder('digits', name)}/set.png" for name in ("dc", "random")]
    done = project.snakemake("--dry-run", option, "profiles/slurm", "--", *targets)
    said = re.findall(
        r"^rule (\w+):\n(?:    .*\n)*?    resources: (.*)",
        done.stdout + done.stderr, re.MULTILINE,
    )  # fmt: skip
    asked = {rule: dict(re.findall(r"(\w+)=([^,]*)", given)) for rule, given in said}
    wanted = {"condense": ("1", "700", "60"), "select": ("0", "300", "5")}
    for rule, values in wanted.items():
        assert tuple(asked[rule][name] for name in ("gpu", "mem_mb", "runtime")) == values
        assert asked[rule]["slurm_extra"] == "--signal=TERM@90"
