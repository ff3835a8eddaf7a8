"""What the documentation shows does run, and the checklist of behaviours is covered."""

import re
from collections import deque
from pathlib import Path

import sampan.raft
from sampan.raft import MessageType
from sampan.tests.raft.harness import Node

ROOT = Path(__file__).parent.parent.parent
BEHAVIOURS = 115


def docstring_examples() -> list[str]:
    """The indented blocks after `::` in the package's docstring."""
    blocks, block, inside = [], [], False
    for line in [*sampan.raft.__doc__.splitlines(), "end"]:
        if inside and (line.startswith("    ") or not line):
            block.append(line[4:])
            continue
        if block:
            blocks.append("\n".join(block))
        block, inside = [], line.endswith("::")
    return blocks


def test_the_synchronous_loop_runs():
    synchronous, _ = docstring_examples()
    namespace: dict[str, object] = {}
    exec(synchronous, namespace)
    assert namespace["state"] == [b"", b"hello"]


def test_the_asynchronous_loop_runs():
    namespace: dict[str, object] = {}
    exec(docstring_examples()[1], namespace)
    nodes = {i: Node(i, async_storage_writes=True) for i in (1, 2, 3)}
    network: deque = deque()
    state: dict[int, list[bytes]] = {i: [] for i in nodes}
    queues = {i: (deque(), deque()) for i in nodes}

    def run():
        for _ in range(300):
            for i, node in nodes.items():
                writer, applier = queues[i]
                if node.raw.has_ready():
                    namespace["handle_ready"](node.raw, network.append, writer, applier)
                if writer:
                    namespace["write"](node.raw, writer.popleft(), node.storage, network.append)
                if applier:
                    namespace["apply"](node.raw, applier.popleft(), state[i], network.append)
            if network:
                message = network.popleft()
                nodes[message.to].raw.step(message)

    nodes[1].raw.campaign()
    run()
    nodes[2].raw.propose(b"hello")
    run()
    assert state == {i: [b"", b"hello"] for i in nodes}


def test_the_guides_example_runs():
    text = (ROOT / "docs" / "raft.md").read_text(encoding="utf8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    namespace: dict[str, object] = {}
    exec(example, namespace)
    assert namespace["applied"] == {1: [b"hello"], 2: [b"hello"], 3: [b"hello"]}


def test_every_message_and_option_is_documented():
    for kind in MessageType:
        assert kind.name in sampan.raft.__doc__
    for option in sampan.raft.Config.__dataclass_fields__:
        assert f"`{option}`" in sampan.raft.__doc__


def test_every_behaviour_has_a_test():
    names = "".join(p.read_text(encoding="utf8") for p in Path(__file__).parent.glob("test_*.py"))
    tested = {int(number) for number in re.findall(r"def test_(\d{3})_", names)}
    assert tested == set(range(1, BEHAVIOURS + 1))


def test_everything_public_is_exported():
    assert sorted(sampan.raft.__all__) == sorted(set(sampan.raft.__all__))
    for name in sampan.raft.__all__:
        assert hasattr(sampan.raft, name)
