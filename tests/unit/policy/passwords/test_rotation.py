"""A rotation of the passwords of a backend's roles, step by step: what the Secret says, what PostgreSQL knows, who is replaced when."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest

from baas_operator.api.kinds import SECRET
from baas_operator.desired.instance.logins import LOGINS_ANNOTATION, OVERLAP_SECONDS
from baas_operator.desired.secrets import EXPIRES_ANNOTATION, NEXT, OVERLAP_ANNOTATION, PREVIOUS, ROTATED_ANNOTATION
from baas_operator.engine.errors import Refused
from baas_operator.observe.conditions import READY, RECONCILING, STALLED
from baas_operator.observe.moments import to_text
from baas_operator.observe.view import secret_text
from tests.unit.objects import NAMESPACE, message, reason, status

from .world import DRAIN_SECONDS, ROLES, Login, Pod, World, ready

COMPONENTS = ("rest", "auth", "meta")
MINE = {"authenticator": "rest", "auth": "auth", "owner": "meta"}


@pytest.fixture
async def world() -> World:
    return await ready()


async def test_nothing_is_rotated_by_itself(world: World) -> None:
    before = [world.says(each) for each in ROLES]
    world.passes(3650 * 24 * 3600)
    await world.settle()
    assert [world.says(each) for each in ROLES] == before
    assert {name for name, known in world.database.passwords.items() if known} == {each.username for each in before}
    assert world.last
    assert world.last.requeue_after is None


async def test_the_next_password_is_known_before_anybody_is_led_to_it(world: World) -> None:
    first = world.says("authenticator")
    await world.ask("authenticator")
    await world.reconcile()

    second = Login("shop_authenticator_alt", secret_text(world.live("authenticator"), NEXT) or "")
    assert world.says("authenticator") == first
    assert not world.database.takes(second)
    for _ in range(3):
        world.passes(3600)
        await world.reconcile()
    assert world.says("authenticator") == first, "it waits for PostgreSQL, however long"
    assert world.last
    assert reason(world.last, RECONCILING) == "BootstrappingDatabase"
    assert status(world.last, READY), "and serves"
    assert world.last.status["passwords"]["phase"] == "Publishing"

    assert await world.run_jobs()
    assert world.database.takes(first)
    assert world.database.takes(second)
    await world.reconcile()
    assert world.says("authenticator") == second
    assert world.annotation("authenticator", EXPIRES_ANNOTATION) is None


async def test_pods_of_who_uses_it_are_replaced_and_the_first_password_goes_a_day_later(world: World) -> None:
    first, others = world.says("authenticator"), [each for each in world.serving() if each.component != "rest"]
    await world.ask("authenticator")
    await world.settle()

    second = world.says("authenticator")
    assert second.username == "shop_authenticator_alt"
    staying = [each for each in world.serving() if each.going is None]
    assert {each.logins for each in staying if each.component == "rest"} == {(second,)}
    assert [each for each in staying if each.component != "rest"] == others, "nobody else is"
    assert world.database.takes(first)
    assert world.database.takes(second)
    world.passes(OVERLAP_SECONDS - 1)
    await world.settle()
    assert world.database.takes(first)
    assert world.last
    assert world.last.requeue_after == pytest.approx(1)
    assert world.last.status["passwords"] == {"phase": "Overlapping"}

    world.passes(1)
    await world.settle()
    assert not world.database.takes(first)
    assert "shop_authenticator" in world.database.ended
    assert "shop_authenticator_alt" not in world.database.ended[-4:]
    assert world.says("authenticator") == second
    assert secret_text(world.live("authenticator"), PREVIOUS) is None


async def test_the_first_password_stays_while_a_pod_may_use_it(world: World) -> None:
    first = world.says("auth")
    await world.ask("auth")
    await world.reconcile()
    await world.run_jobs()
    await world.reconcile()
    await world.run_jobs()
    await world.end_overlap("auth")
    for _ in range(2):
        await world.reconcile()
        assert world.database.takes(first)
        assert await world.roll("auth")
    await world.reconcile()
    assert secret_text(world.live("auth"), PREVIOUS), "two pods are going, and still answer"
    assert world.last
    assert "Pods that log in as shop_auth_admin are being replaced: shop-auth-" in message(world.last, RECONCILING)
    assert world.last.status["passwords"] == {"phase": "Switching"}
    world.passes(DRAIN_SECONDS)
    await world.settle()
    assert not world.database.takes(first)


async def test_a_pod_does_not_start_with_a_version_of_its_secret_from_before(world: World) -> None:
    await world.ask()
    await world.reconcile()
    await world.run_jobs()
    await world.reconcile()
    await world.run_jobs()
    for component in COMPONENTS:
        await world.reconcile()
        assert not await world.roll(component, age=1), component
        assert not await world.roll(component, age=2), component
        while await world.roll(component):
            pass
    assert {each.logins[0].username for each in world.serving() if not each.going} == {
        "shop_authenticator_alt", "shop_auth_admin_alt", "shop_owner_alt",
    }  # fmt: skip


async def test_a_bootstrap_with_older_passwords_does_nothing(world: World) -> None:
    await world.ask("owner")
    await world.reconcile()
    known = dict(world.database.passwords)
    assert not await world.run_jobs(age=1)
    assert world.database.passwords == known


async def test_a_run_that_is_over_holds_nothing_up(world: World) -> None:
    """Pods of a CronJob's runs are kept, with the name that they once logged in with; one that runs is waited for."""
    first = world.says("owner")
    job = Pod("shop-job-nightly-1", "job-nightly", {"metadata": {"annotations": {LOGINS_ANNOTATION: first.username}}}, phase="Running")
    world.pods.append(job)
    await world.ask("owner")
    await world.settle()
    world.passes(OVERLAP_SECONDS)
    await world.settle()
    assert world.database.takes(first)
    assert world.last
    assert message(world.last, RECONCILING) == "Pods that log in as shop_owner are being replaced: shop-job-nightly-1."

    job.phase = "Succeeded"
    await world.settle()
    assert not world.database.takes(first)


async def test_pods_of_an_earlier_operator_which_do_not_say_how_they_log_in_are_waited_for(world: World) -> None:
    first = world.says("auth")
    for each in world.pods:
        each.template["metadata"]["annotations"].pop(LOGINS_ANNOTATION, None)
    await world.ask("auth")
    for _ in range(3):
        await world.reconcile()
        await world.run_jobs()
    await world.end_overlap("auth")
    for _ in range(3):
        await world.reconcile()
        await world.run_jobs()
    assert world.says("auth").username == "shop_auth_admin_alt"
    assert world.database.takes(first)

    await world.settle()
    world.passes(DRAIN_SECONDS)
    await world.settle()
    assert not world.database.takes(first)


async def test_names_take_turns(world: World) -> None:
    seen = [world.says("owner")]
    for name in ("shop_owner_alt", "shop_owner", "shop_owner_alt"):
        await world.ask("owner")
        await world.settle()
        world.passes(OVERLAP_SECONDS)
        await world.settle()
        seen.append(world.says("owner"))
        assert seen[-1].username == name
        assert [world.database.takes(each) for each in seen] == [False] * (len(seen) - 1) + [True]
        said = {each.template["metadata"]["annotations"][LOGINS_ANNOTATION] for each in world.serving() if each.component == "meta"}
        assert said == {name}
    assert len({each.password for each in seen}) == 4


async def test_one_that_is_asked_for_meanwhile_waits_for_the_first_to_be_over(world: World) -> None:
    await world.ask("auth")
    await world.settle()
    second = world.says("auth")
    await world.ask("auth")
    world.passes(OVERLAP_SECONDS - 1)
    await world.settle()
    assert world.says("auth") == second
    world.passes(1)
    await world.settle()
    assert world.says("auth").username == "shop_auth_admin"


async def test_a_schedule_counts_from_the_last_rotation() -> None:
    world = await ready(passwordRotationDays=30)
    for role in ROLES:  # the stand-in of the API server notes no such time
        world.store.put(await world.api.merge(SECRET, "prod", f"shop-role-{role}", {"metadata": {"creationTimestamp": to_text(world.now)}}))
    world.passes(29 * 24 * 3600)
    await world.settle()
    assert world.says("auth").username == "shop_auth_admin"
    assert world.last
    assert world.last.requeue_after == pytest.approx(24 * 3600)
    assert world.last.status["passwords"] == {"phase": "Stable", "nextRotation": to_text(world.now + timedelta(days=1))}
    world.passes(24 * 3600)
    await world.settle()
    at = world.now
    assert world.last.status["passwords"] == {"phase": "Switching"}
    assert {world.says(each).username for each in ROLES} == {"shop_authenticator_alt", "shop_auth_admin_alt", "shop_owner_alt"}
    assert world.annotation("auth", ROTATED_ANNOTATION) == to_text(at)
    world.passes(30 * 24 * 3600 - 1)
    await world.settle()
    assert world.says("auth").username == "shop_auth_admin_alt"
    world.passes(1)
    await world.settle()
    assert world.says("auth").username == "shop_auth_admin"


async def test_what_is_asked_for_later_is_not_answered_by_the_schedule() -> None:
    world = await ready(passwordRotationDays=30)
    later = to_text(world.now + timedelta(days=40))
    world.store.put(await world.api.merge(SECRET, "prod", "shop-role-auth", {"metadata": {"creationTimestamp": to_text(world.now)}}))
    await world.annotate("auth", **{EXPIRES_ANNOTATION: later})
    world.passes(30 * 24 * 3600)
    await world.settle()
    assert world.says("auth").username == "shop_auth_admin_alt"
    assert world.annotation("auth", EXPIRES_ANNOTATION) == later


@pytest.mark.parametrize(("immutable", "value", "why"), [(True, "2020-01-01T00:00:00Z", "it is immutable"), (False, "soon", "is no time")])
async def test_one_that_can_not_be_rotated_is_told(world: World, immutable: bool, value: str, why: str) -> None:
    before = world.says("owner")
    await world.annotate("owner", **{EXPIRES_ANNOTATION: value})
    if immutable:
        world.store.put(await world.api.merge(SECRET, "prod", "shop-role-owner", {"metadata": {}, "immutable": True}))
    await world.settle()
    assert world.says("owner") == before
    assert world.last
    assert status(world.last, READY)
    assert reason(world.last, STALLED) == "PasswordNotRotated"
    assert why in message(world.last, STALLED)


async def test_the_schedule_tells_of_what_it_can_not_rotate() -> None:
    world = await ready(passwordRotationDays=30)
    world.store.put(await world.api.merge(SECRET, "prod", "shop-role-owner", {"metadata": {}, "immutable": True}))
    await world.settle()
    assert world.last
    assert status(world.last, READY)
    assert reason(world.last, STALLED) == "PasswordNotRotated"
    assert message(world.last, STALLED) == (
        "spec.keys.passwordRotationDays is 30, but Secret 'shop-role-owner' is immutable: delete it, it comes back with what it held and "
        "can be changed."
    )


async def test_a_hand_that_takes_the_end_of_the_overlap_away_ends_it(world: World) -> None:
    first = world.says("owner")
    await world.ask("owner")
    await world.settle()
    world.passes(DRAIN_SECONDS)
    await world.annotate("owner", **{OVERLAP_ANNOTATION: None})
    await world.settle()
    assert not world.database.takes(first)


async def write(world: World, role: str, **data: str) -> None:
    """Somebody writes into a Secret."""
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    world.store.put(await world.api.merge(SECRET, NAMESPACE, f"shop-role-{role}", {"metadata": {}, "data": encoded}))


@pytest.mark.parametrize("before", [True, False])
async def test_a_hand_that_blanks_the_next_password_does_not_make_it_that(world: World, before: bool) -> None:
    if before:
        await write(world, "auth", next="")
    await world.ask("auth")
    await world.reconcile()
    await world.run_jobs()
    if not before:
        await write(world, "auth", next="")
        await world.ask("auth")
    await world.settle()
    login = world.says("auth")
    assert (login.username, len(login.password)) == ("shop_auth_admin_alt", 32)
    assert world.database.takes(login)


async def test_a_hand_that_blanks_a_password_is_told_and_the_database_keeps_what_it_has(world: World) -> None:
    first = world.says("auth")
    await write(world, "auth", password="")
    with pytest.raises(Refused, match="'shop-role-auth' lacks password: add them"):
        await world.reconcile()
    assert not await world.run_jobs()
    assert world.database.takes(first)
    await write(world, "auth", password=first.password)
    await world.settle()
    assert world.says("auth") == first


async def test_no_password_is_in_what_is_made_or_told(world: World) -> None:
    await world.ask()
    await world.settle()
    secrets = [secret_text(world.live(role), key) or "?" for role in ROLES for key in ("password", PREVIOUS)]
    assert world.last
    for text in (str(world.last.manifests), str(world.last.conditions), str(world.last.status)):
        assert not any(each in text for each in secrets)
