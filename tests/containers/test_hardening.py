"""What a container may not do, and what its health check notices."""

import pytest
import redis

from tests.containers.stack import SERVICES, Stack

pytestmark = pytest.mark.docker

ATTEMPTS = {
    "touch /x": "Read-only file system",
    "touch /app/x /usr/bin/x": "Read-only file system",
    "cp /bin/true /tmp/true && /tmp/true": "Permission denied",
    "mknod /tmp/node c 1 3": "Operation not permitted",
    "chown 0 /tmp": "Operation not permitted",
    "mount -t tmpfs none /tmp": "permission denied|must be superuser",
    "dd if=/dev/zero of=/tmp/full bs=1M count=400; rc=$?; rm /tmp/full; exit $rc": (
        "No space left on device"
    ),
}
"""Commands, and how each is refused."""

HOG = "import sys; held = bytearray(int(sys.argv[1]) * 1024 * 1024); print(len(held))"


@pytest.mark.parametrize("service", SERVICES)
def test_what_it_runs_has_no_rights(stack: Stack, service: str) -> None:
    """No root, no capability, no way to get them."""
    assert stack.inside(service, "id -u").stdout.strip() not in ("", "0")
    # its own processes, not only those that are started in it
    status = stack.inside(service, "cat /proc/[0-9]*/status").stdout.splitlines()
    said = {
        line for line in status if line.startswith(("Cap", "NoNewPrivs", "Seccomp:"))
    }
    rights = {tuple(line.split()) for line in said if not line.startswith("CapBnd")}
    assert rights == {
        ("CapInh:", "0" * 16),
        ("CapPrm:", "0" * 16),
        ("CapEff:", "0" * 16),
        ("CapAmb:", "0" * 16),
        ("NoNewPrivs:", "1"),
        ("Seccomp:", "2"),
    }
    assert "CapBnd:\t" + "0" * 16 in said


@pytest.mark.parametrize("command", ATTEMPTS)
@pytest.mark.parametrize("service", SERVICES)
def test_what_it_may_not_do_is_refused(
    stack: Stack, service: str, command: str
) -> None:
    """By the kernel."""
    done = stack.inside(service, command)
    assert done.returncode != 0
    assert any(said in done.stderr for said in ATTEMPTS[command].split("|")), done


@pytest.mark.parametrize("service", [*SERVICES, "batch"])
def test_it_is_locked_down_and_limited(stack: Stack, service: str) -> None:
    """As the engine reports; also the batch, which has ended."""
    container = stack.container(service)
    host = container["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert not host["Privileged"]
    assert 0 < host["Memory"] == host["MemorySwap"]
    assert 0 < host["PidsLimit"] <= 1024
    assert host["NanoCpus"] or host["CpuQuota"]
    assert host["RestartPolicy"]["Name"] == (
        "no" if service == "batch" else "unless-stopped"
    )
    assert container["Config"]["User"] not in ("", "root", "0")


@pytest.mark.parametrize("service", ["mlflow", "lookup"])
def test_what_takes_more_memory_than_it_may_is_killed(
    stack: Stack, service: str
) -> None:
    """Only that process; the service goes on."""
    before = stack.container(service)["RestartCount"]
    limit = stack.container(service)["HostConfig"]["Memory"] // 1024 // 1024
    assert stack.inside(service, f"python -c '{HOG}' {limit}").returncode == 137
    few = stack.inside(service, f"python -c '{HOG}' 50")
    assert few.stdout.strip() == str(50 * 1024 * 1024)
    assert stack.container(service)["RestartCount"] == before
    assert stack.is_well(service)


def test_redis_is_full_before_its_container_is(stack: Stack) -> None:
    """So that it refuses to write, in place of being killed."""
    limit = stack.container("redis")["HostConfig"]["Memory"]
    with redis.Redis(port=stack.redis_port, decode_responses=True) as client:
        assert 0 < int(client.config_get("maxmemory")["maxmemory"]) <= limit // 2
        policy = client.config_get("maxmemory-policy")
        assert policy == {"maxmemory-policy": "noeviction"}


def test_only_this_machine_reaches_redis_and_mlflow(stack: Stack) -> None:
    """By default neither of them asks for a password."""
    assert stack.compose("port", "redis", "6379").startswith("127.0.0.1:")
    assert stack.compose("port", "mlflow", "5000").startswith("127.0.0.1:")


def test_redis_refuses_to_be_open_to_others_without_a_password(stack: Stack) -> None:
    """The message says so, and nothing listens."""
    command = ("run", "--rm", "-T", "--no-deps", "redis")
    done = stack.attempt(*command, REDIS_BIND="0.0.0.0")  # noqa: S104 (asked for)
    assert done.returncode == 1
    assert "REDIS_BIND=0.0.0.0: others reach it, set REDIS_PASSWORD" in done.stderr


@pytest.mark.parametrize(
    ("service", "other"), [("lookup", "mlflow"), ("mlflow", "redis")]
)
def test_who_need_not_talk_cannot(stack: Stack, service: str, other: str) -> None:
    """A service resolves only those that it needs."""
    code = f"import socket; socket.getaddrinfo('{other}', 80)"
    done = stack.inside(service, f'python -c "{code}"')
    assert "socket.gaierror" in done.stderr
    code = f"import socket; socket.getaddrinfo('{service}', 80)"
    assert stack.inside(service, f'python -c "{code}"').returncode == 0


def test_a_redis_that_takes_no_lists_is_not_healthy(stack: Stack) -> None:
    """A replica answers PING, and refuses the batch."""
    assert stack.is_well("redis")
    with redis.Redis(port=stack.redis_port) as client:
        client.replicaof("127.0.0.1", "1")
        try:
            assert client.ping()
            assert not stack.is_well("redis")
        finally:
            client.replicaof("no", "one")
    assert stack.is_well("redis")


def test_a_lookup_that_cannot_recommend_is_not_healthy(stack: Stack) -> None:
    """It answers, and says that Redis does not."""
    stack.compose("pause", "redis")
    try:
        assert not stack.is_well("lookup")
        assert stack.get("/health").status_code == 200
    finally:
        stack.compose("unpause", "redis")
    stack.wait_until_ready()
    assert stack.is_well("lookup")


def test_an_mlflow_that_does_not_answer_is_not_healthy(stack: Stack) -> None:
    """Its process is there, and stopped."""
    assert stack.is_well("mlflow")
    pids = "$(grep -l '^mlflow\\|python' /proc/[0-9]*/comm | cut -d / -f 3)"
    assert stack.inside("mlflow", f"kill -STOP {pids}").returncode == 0
    try:
        assert not stack.is_well("mlflow")
    finally:
        stack.inside("mlflow", f"kill -CONT {pids}")
    assert stack.is_well("mlflow")
