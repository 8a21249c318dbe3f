"""What pyproject.toml cannot say: the workflow around the package goes into it as `dclib/workflow`.

The folders at the top are where Snakemake's users look for them; installed, they have to be where
the package finds them.
"""

from setuptools import find_packages, setup

setup(
    script_name="setup.py",  # so that it is known for no module of the workflow
    packages=[*find_packages(include=["dclib*"]), "dclib.workflow"],
    package_dir={"dclib.workflow": "."},
    package_data={
        "dclib": ["py.typed", "*.pyi"],
        "dclib.workflow": [
            "Snakefile",
            "config.yaml",
            "config/*",
            "envs/*",
            "profiles/*/*",
            "report/*",
            "resources/*",
            "rules/*",
            "schemas/*",
            "workflow_scripts/*.py",
        ],
    },
)
