"""A SLURM of two nodes on this machine, for as long as the tests take: without systemd, cgroups or accounting."""

import fcntl
import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from support.ports import free_port

NODES = ("fedsim-node1", "fedsim-node2")
HOSTS = Path("/etc/hosts")
GPUS = 4
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")

CONFIG = """\
ClusterName=fedsim
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={controller}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
MailProg=/bin/true
KillWait=5
MinJobAge=300
ReturnToService=2
MaxArraySize={arrays}
GresTypes=gpu
{nodes}
PartitionName=all Nodes={names} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def why_not() -> str:
    """Why there can be no SLURM here; "" if there can."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"{', '.join(missing)} not installed (Debian: slurmctld slurmd slurm-client munge)"
    return "" if os.geteuid() == 0 else "only root can start its daemons"


class Cluster:
    """The daemons; ``environment`` is for whoever talks to them."""

    def __init__(self, folder: Path, cpus: int = 4, arrays: int = 1001) -> None:
        self._folder = folder
        folder.chmod(0o755)  # munged looks at every folder above its socket
        (folder / "state").mkdir()
        host = socket.gethostname()
        ports = [free_port() for _ in range(1 + len(NODES))]
        nodes = "\n".join(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} Gres=gpu:{GPUS}"
            for name, port in zip(NODES, ports[1:], strict=True)
        )
        config = folder / "slurm.conf"
        names = ",".join(NODES)
        config.write_text(
            CONFIG.format(host=host, folder=folder, controller=ports[0], nodes=nodes, names=names, arrays=arrays)
        )
        for number in range(GPUS):
            os.mknod(folder / f"gpu{number}", stat.S_IFCHR | 0o600, os.makedev(1, 3))  # counted, never opened
        (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-{GPUS - 1}]\n")
        for name in NODES:
            (folder / f"spool-{name}").mkdir()
        self._write_hosts("\n".join(f"127.0.0.1 {name}" for name in NODES))
        self.environment = {**os.environ, "SLURM_CONF": str(config)}
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self._daemons = [
            self._start(
                "munged", "-F", "-f", f"--key-file={key}", f"--socket={folder}/munge.socket",
                f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/seed",
            )
        ]  # fmt: skip
        _wait_for(lambda: (folder / "munge.socket").exists(), "munged")
        self._daemons.append(self._start("slurmctld", "-D"))
        self._daemons += [self._start("slurmd", "-D", "-N", name) for name in NODES]
        _wait_for(lambda: self.say("sinfo", "-h", "-t", "idle", "-o", "%D") == str(len(NODES)), "slurmd", self.logs)

    def _start(self, *command: str) -> "subprocess.Popen[bytes]":
        log = (self._folder / f"{command[0]}.out").open("ab")
        return subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def say(self, *command: str) -> str:
        """What a command of SLURM prints."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False
        ).stdout.strip()

    def state(self, job: str) -> str:
        """Of a job, for example RUNNING, COMPLETED, FAILED, REQUEUED."""
        said = self.say("scontrol", "show", "job", job, "--oneliner")
        return said.partition("JobState=")[2].split(" ")[0]

    def wait(self, job: str, *states: str, seconds: float = 120) -> str:
        """The state in which a job is, as soon as it is one of these."""
        _wait_for(lambda: self.state(job) in states, f"job {job} to be {states}", self.logs, seconds)
        return self.state(job)

    def start_now(self, job: str) -> None:
        """Let a job that went back into the queue start; by itself it would wait for two minutes."""
        steps = ["pgrep", "-f", rf"slurmstepd: \[{job}\."]
        _wait_for(lambda: subprocess.run(steps, capture_output=True, check=False).returncode == 1, "its old steps")
        self.say("scontrol", "update", f"JobId={job}", "StartTime=now")

    def logs(self) -> str:
        """What the daemons have written, for a test that fails."""
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in self._folder.glob("*.log"))

    def stop(self) -> None:
        """End all jobs and daemons."""
        self.say("scancel", "--full", "--state=RUNNING")
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in reversed(self._daemons):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._write_hosts("")

    def _write_hosts(self, lines: str) -> None:
        """This cluster's lines of /etc/hosts become these; another cluster may run and need its own."""
        mark = f" # {self._folder}\n"
        with HOSTS.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            others = "".join(line for line in file if not line.endswith(mark))
            file.seek(0)
            file.write(others + "".join(f"{line}{mark}" for line in lines.splitlines()))
            file.truncate()


def _wait_for(
    condition: Callable[[], bool], what: str, logs: Callable[[], str] = lambda: "", seconds: float = 120
) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited {seconds} s for {what}\n{logs()}"
        time.sleep(0.1)
