"""Whatever happens in whatever order, nobody who serves, and nobody who read a Secret within the overlap, is refused by the database.

Reconciles are cut short after any write, operators that were away come back with what they knew then, bootstraps are killed after any
statement and are given older Secrets, pods are replaced one at a time and may be given older ones, too, and people ask for rotations, and
end overlaps, when they like. After each of these every pod that clients may be led to could log in anew.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from baas_operator.desired.instance.logins import OVERLAP_SECONDS
from baas_operator.desired.secrets import NEXT, PREVIOUS
from baas_operator.observe.view import secret_text
from tests.unit.policy.rotating import InAnyOrder

from .world import DRAIN_SECONDS, ROLES, Login, World

SECONDS = st.sampled_from([1, 29, 31, 3600, OVERLAP_SECONDS - 30, OVERLAP_SECONDS])
COMPONENT = st.sampled_from(["rest", "auth", "meta"])
AGE = st.sampled_from([0, 0, 0, 1, 2, 5])
ROLE = st.sampled_from(ROLES)


class AnyOrder(InAnyOrder):
    """The world, and what is promised of it."""

    def __init__(self) -> None:
        super().__init__(World())
        self.read: dict[Login, tuple[str, datetime]] = {}
        """What somebody has read of a Secret: of which role, and until when it has to count."""

    @rule(rounds=st.integers(1, 4))
    def the_operator_goes_on(self, rounds: int) -> None:
        """With what it can do while no pod is replaced."""
        for _ in range(rounds):
            self.run(self.world.reconcile())
            self.run(self.world.run_jobs())

    @rule(statements=st.integers(0, 12), age=AGE)
    def a_bootstrap_is_killed(self, statements: int, age: int) -> None:
        self.run(self.world.run_jobs(statements=statements, age=age))

    @rule(age=AGE)
    def a_bootstrap_runs(self, age: int) -> None:
        self.run(self.world.run_jobs(age=age))

    @rule(component=COMPONENT, age=AGE)
    def a_pod_is_replaced(self, component: str, age: int) -> None:
        self.run(self.world.roll(component, age=age))

    @rule(component=COMPONENT, age=AGE)
    def a_rollout_comes_to_its_end(self, component: str, age: int) -> None:
        while self.run(self.world.roll(component, age=age)):
            pass

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: int) -> None:
        self.world.passes(seconds)
        self.read = {login: (role, until) for login, (role, until) in self.read.items() if until > self.world.now}

    @rule(role=ROLE)
    def somebody_asks_for_another_password(self, role: str) -> None:
        self.run(self.world.ask(role))

    @rule()
    def somebody_asks_for_all(self) -> None:
        self.run(self.world.ask())

    @rule(role=ROLE)
    def somebody_ends_an_overlap(self, role: str) -> None:
        """Who reads the Secret from then on is let in as before; who did earlier was told."""
        if secret_text(self.world.live(role), PREVIOUS) and not secret_text(self.world.live(role), NEXT):
            self.run(self.world.end_overlap(role))
            self.read = {login: found for login, found in self.read.items() if found[0] != role or login == self.world.says(role)}

    @rule()
    def all_comes_to_rest(self) -> None:
        """From wherever it is, with nobody's help but time's."""
        for _ in range(6):
            self.run(self.world.settle())
            self.time_passes(DRAIN_SECONDS + 1)
            self.time_passes(OVERLAP_SECONDS)
            if not any(secret_text(self.world.live(role), key) for role in ROLES for key in (NEXT, PREVIOUS)):
                break
        self.run(self.world.settle())
        for role in ROLES:
            live, login = self.world.live(role), self.world.says(role)
            assert not any(secret_text(live, key) for key in (NEXT, PREVIOUS)), "a rotation comes to its end"
            known = {name for name, each in self.world.database.passwords.items() if each and name.removesuffix("_alt") in login.username}
            assert known == {login.username}, "and leaves one password"
        assert {each for one in self.world.serving() if not one.going for each in one.logins} == {self.world.says(each) for each in ROLES}

    @invariant()
    def who_serves_could_log_in_anew(self) -> None:
        for each in self.world.serving():
            for login in each.logins:
                assert self.world.database.takes(login), f"{each.name} is refused as {login.username}"

    @invariant()
    def who_read_a_secret_is_let_in(self) -> None:
        if not self.world.serving():
            return
        for role in ROLES:
            self.read[self.world.says(role)] = role, self.world.now + timedelta(seconds=OVERLAP_SECONDS)
        for login, (_, until) in self.read.items():
            assert self.world.now >= until or self.world.database.takes(login), f"{login.username} is refused"


AnyOrder.TestCase.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
TestAnyOrder = AnyOrder.TestCase
