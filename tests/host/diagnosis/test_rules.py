"""The table of rules: every row can apply, and names only what there is."""

import dataclasses
import re

import ppo_jax
from ppo_jax.host.diagnosis.history import Facts, Numbers
from ppo_jax.host.diagnosis.rules import RULES
from tests.host.diagnosis.planted import CONFIG, PLANTED, read_first_updates, read_planted

ROWS = [rule for rules in RULES.values() for rule in rules]


def test_every_rule_can_apply():
    reached = {read_planted(columns, fields)[metric].meaning for metric, _, columns, fields in PLANTED}
    reached |= {reading.meaning for reading in read_first_updates(5).values()}
    assert not {rule.meaning for rule in ROWS} - reached


def test_rules_name_only_numbers_and_facts_that_are_measured():
    assert {rule.measure.number for rule in ROWS} == set(Numbers._fields)
    assert {rule.when for rule in ROWS if isinstance(rule.when, str)} == set(Facts._fields)


def test_advice_names_only_flags_that_exist():
    advice = " ".join(f"{rule.advice} {rule.meaning}" for rule in ROWS)
    flags = {flag.replace("-", "_") for flag in re.findall(r"--([a-z-]+)", advice)}
    assert flags
    assert flags <= {*dataclasses.asdict(CONFIG), *ppo_jax.Hyperparams._fields}
