"""Sandbox of the probe worker: no network, no new processes, no writing of files, limited memory and CPU time.

The transcoding worker can write to files inherited open, up to MAX_FILE_BYTES each, and can map files without limit. No
worker can open files for writing: originals belong to the same user.
"""

import errno
import math
import os
import resource
import socket
import sys

try:
    import pyseccomp
except (ImportError, RuntimeError, OSError):  # the system library is missing
    pyseccomp = None

MEMORY = 2**30  # bytes
MAX_FILE_BYTES = 4 * 2**30  # 225 megapixels with four 16-bit channels take 1.8 GB
OPEN_FILES = 64
DENIED_SYSCALLS = (
    *("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "sendto", "sendmsg", "sendmmsg"),
    *("execve", "execveat", "kill", "ptrace", "process_vm_readv", "process_vm_writev"),
    *("pidfd_open", "pidfd_getfd", "pidfd_send_signal"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "bpf", "perf_event_open", "userfaultfd"),
    *("mount", "umount2", "move_mount", "open_tree", "fsopen", "fsmount", "pivot_root", "chroot", "unshare", "setns"),
    *("keyctl", "add_key", "request_key", "init_module", "finit_module", "delete_module", "kexec_load"),
    *("unlink", "unlinkat", "rename", "renameat", "renameat2", "link", "linkat", "truncate", "chmod", "fchmodat"),
    *("creat", "openat2", "open_by_handle_at", "symlink", "symlinkat", "mknod", "mknodat", "rmdir", "mkdir", "mkdirat"),
)
OPEN_SYSCALLS = {"open": 1, "openat": 2}  # system calls, and the position of their flags argument
WRITE_FLAGS = (os.O_WRONLY, os.O_RDWR, os.O_TRUNC, os.O_CREAT)


def enter(*, writes: bool = False, max_file_bytes: int = MAX_FILE_BYTES) -> bool:
    """Restrict this process irrevocably. Return whether the network is blocked.

    With `writes`, files inherited open can grow to `max_file_bytes`.
    """
    sys.dont_write_bytecode = True  # writing would fail
    for limit, value in (
        # Mapped files count as address space, but not as data, which is what has to be limited for large files.
        (resource.RLIMIT_DATA if writes else resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_FSIZE, max_file_bytes if writes else 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    if pyseccomp is not None:
        _deny_syscalls()
    return _network_is_closed()


def allow_seconds(seconds: int) -> None:
    """Allow this many more seconds of CPU time; the kernel then ends the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    value = math.ceil(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (value, resource.RLIM_INFINITY))


def _deny_syscalls() -> None:
    calls = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in DENIED_SYSCALLS:
        try:
            calls.add_rule(pyseccomp.ERRNO(errno.EPERM), name)
        except ValueError:  # not available on this machine
            continue
    for name, position in OPEN_SYSCALLS.items():
        for flag in WRITE_FLAGS:
            calls.add_rule(pyseccomp.ERRNO(errno.EPERM), name, pyseccomp.Arg(position, pyseccomp.MASKED_EQ, flag, flag))
    calls.load()


def _network_is_closed() -> bool:
    """Test the actual state: some containers ignore the filter."""
    try:
        socket.socket().close()
    except PermissionError:
        return True
    return False
