"""Threads for tasks of event loops, apart by what they may have to wait for."""

from concurrent.futures import ThreadPoolExecutor

THREADS = 16
"""Threads of each kind at most; each is made when it is first needed."""


class TaskThreads:
    """Three kinds, so that none queues behind another: ends give back what admissions wait for."""

    def __init__(self) -> None:
        self.admissions = _pool("admit")
        """They ask for money; who has to wait for it leaves the thread."""
        self.ends = _pool("end")
        self.calls = _pool("call")
        """They make enforced calls, which also wait for money and for model servers."""

    def shutdown(self) -> None:
        """Let all end what they were given."""
        for pool in (self.calls, self.admissions, self.ends):
            pool.shutdown()


def _pool(kind: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix=f"spendgate-{kind}")
