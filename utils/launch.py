"""`torchrun` for our scripts: `python -m utils.launch --nproc_per_node 4 SCRIPT OPTIONS`, with torchrun's own options.

What torchrun does is PyTorch's: processes on one node or several, their meeting, starting again after a failure. What
differs is what a user sees. The first process of a node is shown, another one's last words where it fails alone. A
mistake of the user's, which every process finds, is one line and exit code 2, an interruption is exit code 130 once
the state is saved, and neither is tried again. Signals reach every process once.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from subprocess import Popen

os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # it comments on every connection that ends
from torch.distributed import DistError
from torch.distributed.elastic.agent.server.api import DEFAULT_ROLE, RunResult, WorkerGroup, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.rendezvous.api import RendezvousError
from torch.distributed.launcher import api
from torch.distributed.run import config_from_args, parse_args

GRACE = 20.0  # seconds that the others have to end by themselves when one failed
PATIENCE = 300  # seconds that all have to save their state when they are told to end
HEARD = 1.0  # seconds for the other nodes to hear that all is over, before the one where they meet is gone
POLL = 0.1
LAST_WORDS = 30  # lines
MISTAKE, INTERRUPTED = TOLD_BY_ALL = (2, 130)  # exit codes that starting again would not change
LOST = (RendezvousError, DistError)  # the node where the others are met
OVER = "over"  # in the store that the nodes share: the exit code of all


class Agent(LocalElasticAgent):
    """Watches the processes of one node. Raises `SystemExit` with their code where it is over for all nodes."""

    def _invoke_run(self, role: str = DEFAULT_ROLE) -> RunResult:
        try:
            return super()._invoke_run(role)
        except LOST:
            # The node where all meet may be gone because all is over: these processes will tell.
            processes, deadline = self._processes(), time.monotonic() + GRACE
            while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
                time.sleep(POLL)
            codes = {process.poll() for process in processes}
            if len(codes) == 1 and codes <= {0, *TOLD_BY_ALL}:
                raise SystemExit(codes.pop()) from None
            print(f"exit codes of this node's processes (None: at work): {sorted(map(str, codes))}", file=sys.stderr)
            raise

    def _processes(self) -> list[Popen[bytes]]:
        """By their local rank."""
        handlers = self._pcontext.subprocess_handlers if self._pcontext else {}
        return [handlers[rank].proc for rank in sorted(handlers)]

    def _monitor_workers(self, group: WorkerGroup) -> RunResult:
        failed = self._first_failed()
        result = super()._monitor_workers(group)
        if failed is not None and result.state == WorkerState.FAILED:
            self._report(group, failed)
        elif result.state == WorkerState.HEALTHY and group.group_world_size > 1 and group.store.check([OVER]):
            raise SystemExit(int(group.store.get(OVER)))
        return result

    def _first_failed(self) -> int | None:
        """Local rank of a process that failed; the others have had time to end by themselves, and are ended."""
        processes, deadline = self._processes(), time.monotonic() + GRACE
        failed = next((rank for rank, process in enumerate(processes) if process.poll()), None)
        while failed is not None and any(process.poll() is None for process in processes):
            if time.monotonic() > deadline:
                self._pcontext.close(timeout=GRACE)
            time.sleep(POLL)
        return failed

    def _report(self, group: WorkerGroup, failed: int) -> None:
        """Says what the first process does not; raises `SystemExit` unless all are to be started again."""
        codes = [process.returncode for process in self._processes()]
        code = codes[failed]
        if failed and not (code == codes[0] and code in TOLD_BY_ALL):
            worker = group.workers[failed]
            logs = (Path(files[failed]) for files in (self._pcontext.stdouts, self._pcontext.stderrs))
            words = [line for log in logs for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
            print(f"process {worker.global_rank} of {worker.world_size} failed:", file=sys.stderr)
            print("\n".join(words[-LAST_WORDS:]), file=sys.stderr)
        # One node's processes that make room for a new node interrupt those of all others.
        joined = code == INTERRUPTED and group.spec.rdzv_handler.num_nodes_waiting() > 0
        if self._remaining_restarts > 0 and (code not in TOLD_BY_ALL or joined):
            print(f"starting again from the last saved state (exit code {code})", file=sys.stderr)
            return
        code = code if code > 0 else 128 - code
        if group.group_world_size > 1:
            group.store.set(OVER, str(code))
            time.sleep(HEARD)
        raise SystemExit(code)

    def _shutdown(self, death_sig: signal.Signals = signal.SIGTERM, timeout: int = 30) -> None:
        super()._shutdown(death_sig if death_sig == signal.SIGINT else signal.SIGTERM, timeout)


def launch(words: Sequence[str]) -> int:
    """Runs torchrun with these arguments; returns 0, or the exit code of the process that failed first."""
    if "LOGLEVEL" not in os.environ:
        logging.disable(logging.CRITICAL)  # of PyTorch, which comments on every signal
    # Else the processes of another try meet in the store of the former one, and may find addresses of the dead there.
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    arguments = parse_args(list(words))
    if arguments.nnodes == "1:1" and not arguments.rdzv_endpoint:
        arguments.rdzv_backend, arguments.rdzv_endpoint, arguments.rdzv_id = "c10d", "localhost:0", str(uuid.uuid4())
        arguments.local_addr = "127.0.0.1"  # whatever this machine's name means
    arguments.shutdown_timeout = arguments.shutdown_timeout or PATIENCE
    arguments.master_port = arguments.master_port or 29500
    config, entry, command = config_from_args(arguments)
    numbers = ["SIGTERM", "SIGINT", "SIGQUIT", "SIGUSR1"]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
        numbers.append("SIGHUP")
    config.signals_to_handle = ",".join(numbers)
    api.LocalElasticAgent = Agent  # there is no other way to give one to `elastic_launch`
    with tempfile.TemporaryDirectory(prefix="launch_") as folder:
        quiet = dict.fromkeys(range(1, config.nproc_per_node), Std.ALL)
        config.logs_specs = DefaultLogsSpecs(folder, redirects=quiet)
        try:
            api.elastic_launch(config, entry)(*command)
        except (SignalException, KeyboardInterrupt):
            return INTERRUPTED
        except LOST as error:
            print(f"error: the nodes lost each other ({' '.join(str(error).split()):.200})", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(launch(sys.argv[1:]))
