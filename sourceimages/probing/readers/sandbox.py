"""What a child may not do: use the network, start programs, write files, take all memory or all time.

One that rewrites pictures may write to what it was given open, no more than LARGEST_FILE, and may map as much of its
files as it likes. None may open a file for writing: the originals belong to the same user.
"""

import errno
import math
import os
import resource
import socket
import sys

try:
    import pyseccomp
except (ImportError, RuntimeError, OSError):  # the library of the system that it needs is missing
    pyseccomp = None

MEMORY = 2**30  # bytes
MAX_FILE_BYTES = 4 * 2**30  # 225 megapixels of 16 bits in four channels are 1.8 GB
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
OPEN_SYSCALLS = {"open": 1, "openat": 2}  # calls, and which of their arguments holds the flags
WRITE_FLAGS = (os.O_WRONLY, os.O_RDWR, os.O_TRUNC, os.O_CREAT)


def enter(*, writes: bool = False) -> bool:
    """Take away from this process, for good, what it does not need. Tells whether the kernel closed the network."""
    sys.dont_write_bytecode = True  # it could not
    for limit, most in (
        # Mapped files are address space, not memory: who maps large ones is bounded by what is its own.
        (resource.RLIMIT_DATA if writes else resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES if writes else 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    if pyseccomp is not None:
        _deny_syscalls()
    return _network_is_closed()


def allow_seconds(seconds: int) -> None:
    """From now on so much computing time; then the kernel ends this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def _deny_syscalls() -> None:
    calls = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in DENIED_SYSCALLS:
        try:
            calls.add_rule(pyseccomp.ERRNO(errno.EPERM), name)
        except ValueError:  # a call that this machine does not have
            continue
    for name, position in OPEN_SYSCALLS.items():
        for flag in WRITE_FLAGS:
            calls.add_rule(pyseccomp.ERRNO(errno.EPERM), name, pyseccomp.Arg(position, pyseccomp.MASKED_EQ, flag, flag))
    calls.load()


def _network_is_closed() -> bool:
    """Not what we asked for but what we got: some containers accept no filter."""
    try:
        socket.socket().close()
    except PermissionError:
        return True
    return False
