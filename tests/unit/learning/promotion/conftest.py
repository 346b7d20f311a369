"""Contenders by what was seen of them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from geminivideo.learning.promotion import CheckRequest, Contender
from geminivideo.policy import Policy

AT = 1_790_000_000.0


def contender(number: int = 0, **members: Any) -> Contender:
    """An ad of five days with 2 % CTR, of campaign ``c``, known by its clicks alone."""
    clicks, impressions = members.get("clicks", 200), members.get("impressions", 10_000)
    given: dict[str, Any] = {
        "id": f"ad-{number:02d}",
        "adset_id": f"set-{number:02d}",
        "ad_ids": (f"ad-{number:02d}",),
        "campaign_id": "c",
        "currency": "USD",
        "ctr_alpha": 2.0 + clicks,
        "ctr_beta": 98.0 + impressions - clicks,
        "value_shape": 4.0,
        "value_rate": 4.0,
        "click_weight": 1.0,
        "scale": 1.0,
        "budget": 5000,
        "age_hours": 120.0,
        "impressions": impressions,
        "clicks": clicks,
        "spend": 25_000,
        "pipeline_value": 0,
    }
    return Contender(**(given | members))


def request_of(*contenders: Contender, policy: Policy | None = None, seed: int = 7, **members: Any):
    """A check of these contenders, with few draws: it is to be quick."""
    policy = policy or Policy()
    few = replace(policy, promotion=replace(policy.promotion, draws=400))
    return CheckRequest(
        account_id="acme", at=AT, seed=seed, policy=few, contenders=contenders, **members
    )


@pytest.fixture(scope="session")
def ad() -> Callable[..., Contender]:
    return contender


@pytest.fixture(scope="session")
def ask() -> Callable[..., CheckRequest]:
    return request_of


@pytest.fixture(scope="session")
def promoting() -> Any:
    """The measurement of wrong promotions: accounts whose truth is known."""
    path = Path(__file__).parents[4] / "bench" / "promoting.py"
    spec = importlib.util.spec_from_file_location("bench_promoting", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module
