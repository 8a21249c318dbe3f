"""A SLURM of one node on this machine: real daemons, stand-in GPUs, no database."""

import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

# Character devices that stand in for GPUs, with their types.
GPUS = {"/dev/null": "common", "/dev/zero": "common", "/dev/full": "spot"}
# Processes in a job find this place only: the executor plugin takes SLURM_CONF out of their
# environment.
ETC = Path("/etc/slurm")
CONFIGURATION = ("slurm.conf", "gres.conf", "cgroup.conf")
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")

SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge/socket,cred_expire=15
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
JobCompType=jobcomp/filetxt
JobCompLoc={root}/jobcomp.log
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MinJobAge=3600
KillWait=30
ReturnToService=2
PropagateResourceLimits=NONE
Prolog={root}/hook
Epilog={root}/hook
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={processors} RealMemory=64000 Gres=gpu:common:2,gpu:spot:1
PartitionName=gpu Nodes={host} Default=YES PriorityTier=2 PreemptMode=OFF
PartitionName=spot Nodes={host} PriorityTier=1
PartitionName=urgent Nodes={host} PriorityTier=3 PreemptMode=OFF
"""
# SLURM writes a line when a job has been given its GPUs, and one when it is over.
HOOK = """#!/bin/sh
echo "$SLURM_SCRIPT_CONTEXT $SLURM_JOB_ID ${{SLURM_JOB_GPUS:-none}}" >> {root}/hook.log
"""


def obstacle():
    """Install SLURM if it is not there; return in one line why there can be no cluster, or None."""
    if os.geteuid() != 0:
        return "the daemons and /etc/slurm need root"
    if any((ETC / name).exists() for name in CONFIGURATION):
        return f"{ETC} is in use: this machine belongs to a cluster, or the tests run already"
    if all(map(shutil.which, PROGRAMS)):
        return None
    for words in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        try:
            done = subprocess.run(
                ["apt-get", "--quiet", *words], text=True, capture_output=True, check=False,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, timeout=600,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"slurmctld is not installed, and apt-get cannot install it ({error})"
    if all(map(shutil.which, PROGRAMS)):
        return None
    reason = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
    return f"slurmctld is not installed, and apt-get cannot install it ({reason})"


class Cluster:
    """The daemons, from `start` to `stop`."""

    def __init__(self, root, processors=16):
        self.root = root
        self.processors = processors
        self.daemons = []

    def start(self):
        host = socket.gethostname().split(".")[0]
        values = {
            "root": self.root,
            "host": host,
            "ports": _free_ports(2),
            "processors": self.processors,
        }
        for name in ("state", "spool", "munge"):
            (self.root / name).mkdir(mode=0o700)
        (self.root / "munge/key").write_bytes(os.urandom(128))
        (self.root / "munge/key").chmod(0o600)
        (self.root / "slurm.conf").write_text(SLURM_CONF.format(**values))
        devices = [f"NodeName={host} Name=gpu Type={GPUS[path]} File={path}\n" for path in GPUS]
        (self.root / "gres.conf").write_text("AutoDetect=off\n" + "".join(devices))
        (self.root / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        (self.root / "hook").write_text(HOOK.format(**values))
        (self.root / "hook").chmod(0o755)
        for name in CONFIGURATION:
            (ETC / name).unlink(missing_ok=True)  # a link to a folder that is gone
            (ETC / name).symlink_to(self.root / name)
        munge = self.root / "munge"
        self._daemon(
            "munged", "--foreground", "--force", f"--key-file={munge}/key",
            f"--socket={munge}/socket", f"--pid-file={munge}/pid", f"--log-file={munge}/log",
            f"--seed-file={munge}/seed",
        )  # fmt: skip
        self._daemon("slurmctld", "-D")
        self._daemon("slurmd", "-D", "-N", host)
        self._wait(lambda: "idle" in command("timeout", "2", "sinfo", "-h", "-o", "%T"), 60)

    def stop(self):
        if len(self.daemons) == 3:
            command("timeout", "5", "scancel", "--user", "root")
            self._wait(lambda: not command("timeout", "5", "squeue", "-h"), 60)
        for daemon in reversed(self.daemons):
            daemon.terminate()
            daemon.wait(30)
        for name in CONFIGURATION:
            (ETC / name).unlink(missing_ok=True)

    def _daemon(self, name, *arguments):
        with (self.root / f"{name}.out").open("w") as out:
            self.daemons.append(subprocess.Popen([name, *arguments], stdout=out, stderr=out))

    def _wait(self, condition, seconds):
        deadline = time.monotonic() + seconds
        while not condition():
            logs = [path.read_text()[-3000:] for path in self.root.glob("*.out")]
            assert all(daemon.poll() is None for daemon in self.daemons), "\n".join(logs)
            assert time.monotonic() < deadline, "\n".join(logs)
            time.sleep(0.5)

    def jobs(self):
        """Every job that there has been, as SLURM records it: its fields by their names."""
        text = command("scontrol", "--oneliner", "show", "job")
        lines = [line for line in text.splitlines() if line.startswith("JobId=")]
        jobs = [dict(re.findall(r"([\w/:]+)=(.*?)(?= +[\w/:]+=| *$)", line)) for line in lines]
        return sorted(jobs, key=lambda job: int(job["JobId"]))

    def devices(self):
        """Who was given which GPUs and gave them back, in order: (context, job, GPU numbers)."""
        lines = (self.root / "hook.log").read_text().splitlines()
        events = [line.split() for line in lines]
        return [(e[0], e[1], [] if e[2] == "none" else e[2].split(",")) for e in events]


def command(*words):
    """Run a command, show what it complains of and return what it says."""
    return subprocess.run(words, text=True, stdout=subprocess.PIPE, check=False).stdout


def _free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


if __name__ == "__main__":
    print(obstacle() or "")
