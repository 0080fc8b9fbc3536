"""Whatever happens in whatever order, a token that counts is taken by everybody who verifies tokens.

Reconciles are cut short after any write, operators that were away come back with what they knew then, pods are replaced one at a time,
kubelets bring mounted files when they like, and people ask for keys and revoke them. After each of these users sign in with every pod
that is there, and every token is given to everybody.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from baas_operator.observe.keys import signer_of
from tests.unit.policy.rotating import InAnyOrder

from .world import PODS, PUBLIC, SYNC_SECONDS, TOKEN_SECONDS, Token, World, verifies

SECONDS = st.sampled_from([1, 29, 31, 61, 119, 181, 181, 1000, 3599, 3781])


class AnyOrder(InAnyOrder):
    """The world, and what is promised of it while nothing is revoked."""

    def __init__(self) -> None:
        super().__init__(World(overlapHours=1))
        self.tokens: dict[str, Token] = {}
        """Of each text the one that lives the longest."""
        self.urgent: set[str] = set()
        """Keys that took the place of a revoked one, until everybody knows them."""
        self.over: set[str] = set()
        """Revoked keys that nobody knows any more."""

    def revoked(self) -> set[str]:
        return set(self.world.keys.revoked)

    def operate(self, step: Any) -> None:
        before = self.world.held.current.kid
        self.run(step)
        after = self.world.held.current.kid
        if after != before and before in self.revoked():
            self.urgent.add(after)

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: int) -> None:
        self.world.passes(seconds)
        self.tokens = {text: each for text, each in self.tokens.items() if each.until > self.world.now}

    @rule(which=st.integers(0, 2))
    def a_pod_is_replaced(self, which: int) -> None:
        self.world.roll(self.world.programs[which])

    @rule()
    def all_pods_are_replaced(self) -> None:
        for program in self.world.programs:
            while self.world.roll(program):
                pass

    @rule(which=st.integers(0, PODS - 1))
    def a_kubelet_brings_a_file(self, which: int) -> None:
        (gateway,) = (each for each in self.world.programs if each.reloads)
        self.world.bring(gateway.pods[which])

    @rule()
    def somebody_asks_for_another_key(self) -> None:
        self.run(self.world.ask())
        self.reconcile()

    @rule()
    def all_comes_to_rest(self) -> None:
        """From wherever it is, with nobody's help but time's."""
        self.reconcile()
        for _ in range(8):
            self.run(self.world.settle())
            self.time_passes(SYNC_SECONDS + 61)
            self.run(self.world.settle())
            if self.world.held.next is None:
                break
        held = self.world.held
        assert not set(held.kids) & self.revoked()
        assert held.next is None, "a rotation comes to its end"
        assert all(each.proven for each in held.previous)
        self.over |= self.revoked()
        self.urgent.clear()

    @invariant()
    def what_counts_is_taken(self) -> None:
        """Users sign in with every pod at any time, and clients read the API keys."""
        if not self.world.config:
            return
        anon = self.world.text(PUBLIC, "anon")
        read = Token(anon, signer_of(anon) or "", self.world.now + timedelta(seconds=TOKEN_SECONDS))
        self.tokens |= {each.text: each for each in [read, *map(self.world.sign_in, self.world.signers())]}
        exempt = self.urgent | self.revoked()
        for token in self.tokens.values():
            if token.kid in self.over:
                assert self.world.taken(token.text) == {False}, f"a token of the revoked {token.kid} is taken"
            elif token.kid not in exempt:
                assert self.world.taken(token.text) == {True}, f"a token of {token.kid} is refused"
        assert verifies(anon, self.world.text(PUBLIC, "jwks.json")) or signer_of(anon) in self.revoked()

    @invariant()
    def what_is_revoked_does_not_come_back(self) -> None:
        assert not any(kid in pod.jwks for pod in self.world.verifiers() for kid in self.over)


class WithRevocations(AnyOrder):
    """The same while keys leak."""

    @precondition(lambda self: len(self.world.keys.revoked) < 5)
    @rule(which=st.integers(0, 5), at_once=st.booleans())
    def a_key_leaks(self, which: int, at_once: bool) -> None:
        kids = self.world.held.kids
        self.world.spec(revoked=sorted({*self.revoked(), kids[which % len(kids)]}))
        if at_once:
            self.reconcile()


_SETTINGS = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
AnyOrder.TestCase.settings = WithRevocations.TestCase.settings = _SETTINGS
TestAnyOrder = AnyOrder.TestCase
TestWithRevocations = WithRevocations.TestCase
