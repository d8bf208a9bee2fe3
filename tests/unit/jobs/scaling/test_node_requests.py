"""Several jobs ask one autoscaler for nodes."""

from __future__ import annotations

from jobs.scaling.node_requests import LIVES_SECONDS, RENEW_SECONDS, NodeRequest, NodeRequests

ONE = NodeRequest([{"GPU": 0.9}], [{"bottega-pool": "student"}])
TWO = NodeRequest([{"GPU": 1.0}, {"CPU": 1.0}], [{}, {}])
NOTHING = NodeRequest([], [])


def test_the_jobs_requests_are_added_up() -> None:
    """The last caller won, and a job that ended took the other's nodes away."""
    requests = NodeRequests()
    requests.put("a", ONE, 0.0)
    requests.put("b", TWO, 1.0)
    assert requests.total(2.0) == NodeRequest(
        [{"GPU": 0.9}, {"GPU": 1.0}, {"CPU": 1.0}], [{"bottega-pool": "student"}, {}, {}]
    )
    requests.put("a", NOTHING, 3.0)
    assert requests.total(3.0) == TWO


def test_a_later_request_replaces_an_earlier_one_of_the_same_job() -> None:
    requests = NodeRequests()
    requests.put("a", TWO, 0.0)
    requests.put("a", ONE, 1.0)
    assert requests.total(1.0) == ONE


def test_a_driver_that_is_gone_asks_for_nothing_after_a_while() -> None:
    requests = NodeRequests()
    requests.put("killed", TWO, 0.0)
    for renewed in range(0, 300, int(RENEW_SECONDS)):
        requests.put("alive", ONE, float(renewed))
        if renewed < LIVES_SECONDS:
            assert len(requests.total(float(renewed)).bundles) == 3
    assert requests.total(300.0) == ONE
    assert requests.total(300.0 + LIVES_SECONDS) == NOTHING
