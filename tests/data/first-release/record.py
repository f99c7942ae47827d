"""Made what lies beside it, with gaitway 0.1.0: python3 record.py GAITWAY FOLDER

- `agent.tar.gz`: the folder of an agent that never reached a relay, with every push of `golden/late` in its spool.
- `wire.ndjson.gz`: what an agent and a relay said to each other while those pushes went to `gaitway up`, a line a piece:
  `["agent" or "relay", base64]`.
"""

import base64
import gzip
import json
import re
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
TAKING = r'"taking pushes at /data","address":"([^"]+)"'
LISTENING = r'"relay listening for agents","address":"([^"]+)"'
PUSHES = HERE.parent / "golden/late/pushes.ndjson.gz"


class Process:
    def __init__(self, *args: str) -> None:
        self.child = subprocess.Popen(args, stdout=subprocess.PIPE, text=True)

    def says(self, pattern: str) -> str:
        for line in self.child.stdout:
            if found := re.search(pattern, line):
                return found[1]
        raise SystemExit(f"it ended before it said {pattern}")

    def end(self) -> None:
        self.child.send_signal(signal.SIGTERM)
        self.child.wait()


def push(url: str) -> None:
    for line in gzip.open(PUSHES):
        request = urllib.request.Request(url, data=line, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200, answer.status


def spool(gaitway: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as data:
        agent = Process(gaitway, "agent", "--data-dir", data, "--http", "127.0.0.1:0", "--relay", "mqtt://127.0.0.1:9", "--agent-id", "first-release")
        push(f"http://{agent.says(TAKING)}/data")
        agent.end()
        with tarfile.open(folder / "agent.tar.gz", "w:gz") as tar:
            for path in sorted(Path(data).iterdir()):
                if path.suffix != ".lock" and path.name != ".lock":
                    tar.add(path, path.name)


def wire(gaitway: str, folder: Path) -> None:
    said = []
    with tempfile.TemporaryDirectory() as data:
        up = Process(gaitway, "up", "--data-dir", f"{data}/up", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0")
        relay = up.says(LISTENING).rsplit(":", 1)
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        agent = Process(gaitway, "agent", "--data-dir", f"{data}/agent", "--http", "127.0.0.1:0", "--relay", f"mqtt://127.0.0.1:{port}", "--agent-id", "first-release")
        url = f"http://{agent.says(TAKING)}/data"
        down, _ = listener.accept()
        upstream = socket.create_connection((relay[0], int(relay[1])))

        def carry(name: str, source: socket.socket, sink: socket.socket) -> None:
            while piece := source.recv(1 << 16):
                said.append([name, base64.b64encode(piece).decode()])
                sink.sendall(piece)

        threading.Thread(target=carry, args=("agent", down, upstream), daemon=True).start()
        threading.Thread(target=carry, args=("relay", upstream, down), daemon=True).start()
        push(url)
        time.sleep(40)  # until windows are closed by silence
        agent.end()
        up.end()
    with gzip.GzipFile(folder / "wire.ndjson.gz", "wb", mtime=0) as out:
        out.writelines((json.dumps(piece) + "\n").encode() for piece in said)


if __name__ == "__main__":
    spool(sys.argv[1], Path(sys.argv[2]))
    wire(sys.argv[1], Path(sys.argv[2]))
