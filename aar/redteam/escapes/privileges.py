"""Attempts to gain system calls, users, devices, limits, and the server."""

from __future__ import annotations

from aar.redteam.escapes.escape_arena import Escape

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
        "limits-of-others",
        "change limits, priorities or cores of other processes, the first one included",
        """
import os, resource, subprocess
child = subprocess.Popen(['sleep', '30'])
for pid in (1, child.pid):
    for change in (
        "resource.prlimit(pid, resource.RLIMIT_NOFILE, (16, 16))",
        "os.sched_setaffinity(pid, os.sched_getaffinity(0))",
        "os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))",
        "os.setpriority(os.PRIO_PROCESS, pid, 19)",
        "os.setpriority(os.PRIO_USER, os.getuid(), 19)",
    ):
        try:
            eval(change); print('GOT THROUGH', change, pid)
        except OSError:
            pass
child.kill(); child.wait()
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
