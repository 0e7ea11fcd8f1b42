"""Scripts in processes of their own that start at once: forks of one that has imported already.

A script finds what ``python -c`` would give it, and ends as any interpreter does; signals, crashes
and exits reach nobody else.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
from importlib import import_module

LONGEST = 1 << 17  # bytes of a request


class WarmPython:
    """A process that has imported some modules and forks for every script.

    Args:
        modules: their names.
    """

    def __init__(self, *modules: str):
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno()), *modules],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
                start_new_session=True,  # it is not interrupted with the tests
            )

    def run(self, script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Exit code and output of a script, as :func:`subprocess.run` gives them."""
        argv = ["-c", *map(str, arguments)]
        request = json.dumps({"script": script, "argv": argv, "directory": os.getcwd()}).encode()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            socket.send_fds(self._link, [request], [out.fileno(), err.fileno()])
            code = int(self._link.recv(64))
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode())
        return subprocess.CompletedProcess(argv, code, *texts)

    def close(self) -> None:
        """End the process."""
        self._link.close()
        self._server.wait()


def _forked(link: socket.socket) -> str:
    """Fork for every request, and return its script in the fork."""
    while True:
        request, streams, _, _ = socket.recv_fds(link, LONGEST, 2)
        if not request:
            sys.exit()
        if pid := os.fork():
            for stream in streams:
                os.close(stream)
            _, status = os.waitpid(pid, 0)
            link.send(b"%d" % os.waitstatus_to_exitcode(status))
            continue
        link.close()
        for number, stream in enumerate(streams, 1):
            os.dup2(stream, number)
            os.close(stream)
        found = json.loads(request)
        sys.argv = found["argv"]
        os.chdir(found["directory"])
        return found["script"]


if __name__ == "__main__":
    _link = socket.socket(fileno=int(sys.argv[1]))
    for _name in sys.argv[2:]:
        import_module(_name)
    exec(compile(_forked(_link), "<string>", "exec"), {"__name__": "__main__"})
