"""What people on call read."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from kubectl_baas.fleet import build_fleet
from kubectl_baas.show import print_trees
from kubectl_baas.text import age, human_bytes
from kubectl_baas.tree import Node, build_trees

from .test_plugin_example import NOW, healthy_database, lost_database, lost_instance, lost_queue, member, operation

ZONE_LOST = """\
shop  BaasInstance  Not Ready  supabase  http://shop-gateway.prod.svc:8000
+-- ! QueueNotReady  EventQueue shop-events is not ready.
+-- gateway  3/3  3 zones
+-- rest     2/3  2 zones  Unschedulable: no node in zone-b
+-- database shop-db  Ready  primary shop-db-2  2/3 members  2 zones
|   +-- ! ZoneTolerant=False ZoneMissing  Members are ready in 2 zones; the loss of one more stops writes.
|   +-- shop-db-0  zone-a   standby  streaming  ready      timeline 2  lag 3 MiB
|   +-- shop-db-1  no zone  unknown  unknown    not ready
|   `-- shop-db-2  zone-c   primary  running    ready      timeline 2
`-- queue shop-events  Not Ready  2/3 servers  2 zones
    +-- ! StreamWithoutLeader  Stream audit has no leader: its messages can not be read or written.
    +-- ! Reconciling=True WaitingForServers  Waiting for shop-events-1.
    +-- shop-events-0  zone-a   ready      meta leader
    +-- shop-events-1  no zone  not ready
    +-- shop-events-2  zone-c   ready
    +-- stream orders  2/3 current  2 zones  leader shop-events-0
    `-- stream audit   0/1 current  0 zones  no leader
"""


def drawn(trees: list[Node], *, encoding: str = "ascii", **options: Any) -> str:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding) as stream:
        print_trees(trees, Console(file=stream, width=200, highlight=False, **options))
        stream.flush()
        return raw.getvalue().decode(encoding)


def lines(node: Node) -> list[str]:
    return [node.text(), *(line for child in node.children for line in lines(child))]


def zone_lost(**look: Any) -> list[Node]:
    return build_trees(build_fleet([lost_instance()], [lost_database()], [lost_queue()]), now=NOW, **look)


def test_a_lost_zone_in_one_tree_in_plain_letters() -> None:
    assert drawn(zone_lost()) == ZONE_LOST


def test_a_terminal_with_unicode_gets_lines() -> None:
    assert "├── gateway  3/3  3 zones" in drawn(zone_lost(), encoding="utf-8")


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" not in drawn(zone_lost())
    assert "\x1b[" in drawn(zone_lost(), force_terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in drawn(zone_lost(), force_terminal=True)


def test_on_a_terminal_there_are_no_escapes_but_our_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    instance = lost_instance()
    instance["status"]["components"][1]["reason"] = "\x1b[2J"
    shown = drawn(build_trees(build_fleet([instance], [], []), now=NOW), force_terminal=True)
    assert "\x1b[33m  \\x1b[2J\x1b[0m" in shown
    assert "\x1b[2J" not in shown


def test_what_looks_like_markup_is_shown_as_it_is() -> None:
    instance = lost_instance()
    instance["status"]["components"][0] |= {"ready": 0, "reason": "[bold]no[/bold] :warning:"}
    trees = build_trees(build_fleet([instance], [], []), now=NOW)
    assert "[bold]no[/bold] :warning:" in drawn(trees)


def test_a_database_alone_stands_at_the_top() -> None:
    (tree,) = build_trees(build_fleet([], [healthy_database()], []), now=NOW)
    assert lines(tree) == [
        "shop-db  DatabaseReplica  Ready  primary shop-db-0  3/3 members  3 zones",
        "shop-db-0  zone-a  primary  running    ready  timeline 1",
        "shop-db-1  zone-b  standby  streaming  ready  timeline 1  lag 0",
        "shop-db-2  zone-c  standby  streaming  ready  timeline 1  lag 0",
    ]


def test_a_member_that_lost_power_is_not_called_running_and_ready() -> None:
    """Until Kubernetes calls its node lost its pod is ready, and Patroni's last word on it stands."""
    database = lost_database()
    database["status"]["members"][1] = member(1, "zone-b", "unknown", "running", timeline=1)
    (tree,) = build_trees(build_fleet([], [database], []), now=NOW)
    assert "shop-db-1  zone-b  unknown  running, as last heard         timeline 1" in lines(tree)


def test_namespaces_are_shown_when_there_are_several() -> None:
    (tree,) = zone_lost(namespaces=True)
    assert tree.text().startswith("prod/shop  BaasInstance")


def test_a_running_operation_is_always_shown_and_past_ones_on_wide() -> None:
    done = operation(
        "shop-db-switchover-1", "Succeeded", result={"fromMember": "shop-db-1", "toMember": "shop-db-2", "durationSeconds": 1.31}
    )
    running = operation("shop-db-switchover-2", "Running", created="2026-05-01T11:59:55Z")
    fleet = build_fleet([], [healthy_database()], [], [done, running])
    (short,), (wide,) = build_trees(fleet, now=NOW), build_trees(fleet, now=NOW, wide=True)
    assert [line for line in lines(short) if line.startswith("switchover")] == [
        "switchover shop-db-switchover-2  Running  5s ago  The operator has not said anything about it yet."
    ]
    assert "switchover shop-db-switchover-1  Succeeded  40s ago  shop-db-1 -> shop-db-2  1.3 s" in lines(wide)


def test_wide_shows_good_conditions_and_ages_too() -> None:
    text = "\n".join(lines(zone_lost(wide=True)[0]))
    assert "Ready=True Serving  since 3d5h  All well." in text
    assert "loss window 0 s" in text


def test_what_is_suspended_says_so() -> None:
    paused = healthy_database()
    paused["spec"]["suspend"] = True
    (tree,) = build_trees(build_fleet([], [paused], []), now=NOW)
    assert "Ready  suspended" in tree.text()


def test_an_empty_status_is_no_crash() -> None:
    bare = [{"metadata": {"name": "new", "namespace": "prod"}}]
    trees = build_trees(build_fleet(bare, bare, bare), now=NOW, wide=True)
    assert "! NotObserved" in drawn(trees)


@pytest.mark.parametrize(
    ("since", "shown"),
    [
        ("2026-05-01T11:59:48Z", "12s"),
        ("2026-05-01T11:55:30Z", "4m30s"),
        ("2026-05-01T11:30:00Z", "30m"),
        ("2026-05-01T09:00:00Z", "3h"),
        ("2026-04-28T07:00:00.123456Z", "3d4h"),
        ("2026-05-01T13:00:00Z", "0s"),
        ("soon", "?"),
    ],
)
def test_ages(since: str, shown: str) -> None:
    assert age(since, datetime(2026, 5, 1, 12, tzinfo=UTC)) == shown


@pytest.mark.parametrize(("amount", "shown"), [(0, "0"), (512, "512 B"), (3 << 20, "3 MiB"), (5 << 30, "5 GiB"), (3 << 40, "3.0 TiB")])
def test_bytes(amount: int, shown: str) -> None:
    assert human_bytes(amount) == shown
