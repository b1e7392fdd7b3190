"""Limits on the time that the database works for a request."""

from contextlib import ExitStack

import pytest
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import RequestFactory

from rokka.core import time_limits
from rokka.core.middleware import TimeLimitMiddleware
from rokka.core.time_limits import JOB, SEARCH, TimeLimitExceeded, limited

COUNT_TO = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT max(i) FROM n"
SLOW = {"postgresql": "SELECT pg_sleep(300)", "sqlite": COUNT_TO.format(3_000_000_000)}  # minutes
SHORT = {"postgresql": "SELECT pg_sleep(0.02)", "sqlite": COUNT_TO.format(20_000)}


def run(statement="SELECT 1", parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()


def statement_timeout():
    return run("SHOW statement_timeout")[0][0] if connection.vendor == "postgresql" else "0"


@pytest.fixture(autouse=True)
def one_second(settings):
    settings.SEARCH_TIMEOUT_SECONDS = 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_slow_statement_ends_and_the_connection_stays_usable_without_limit(in_transaction):
    with limited(SEARCH), time_limits.part("slept", "Sleep less."), ExitStack() as stack:
        assert run("SELECT %s", ["a"]) == [("a",)]
        stack.enter_context(pytest.raises(TimeLimitExceeded, match=r"more than 1 .*SEARCH_TIMEOUT_SECONDS.*it slept"))
        if in_transaction:
            stack.enter_context(transaction.atomic())
        run(SLOW[connection.vendor])
    assert statement_timeout() == "0"
    with transaction.atomic():
        assert statement_timeout() == "0"
        assert run(SHORT[connection.vendor])


@pytest.mark.django_db(transaction=True)
def test_a_limit_ends_with_its_statement_even_if_no_transaction_surrounds_it():
    with limited(SEARCH):
        run()
        # Sent as it is, as by the next client of a connection pooler.
        assert statement_timeout() == "0"


@pytest.mark.django_db
def test_statements_share_the_time_and_further_ones_are_refused():
    with limited(SEARCH) as limit:
        run(SHORT[connection.vendor])
        assert 0 < limit.used < 1
        limit.used = 1.0
        with pytest.raises(TimeLimitExceeded, match=r"Try again later\."):
            run()


@pytest.mark.django_db
def test_a_savepoint_can_be_rolled_back_after_the_time_is_used_up():
    with limited(SEARCH) as limit, ExitStack() as stack:
        limit.used = 1.0
        stack.enter_context(pytest.raises(TimeLimitExceeded))
        stack.enter_context(transaction.atomic())
        run()
    assert run() == [(1,)]


@pytest.mark.django_db
def test_expensive_statements_run_in_one_process():
    setting = {"postgresql": "SELECT current_setting('max_parallel_workers_per_gather')", "sqlite": "SELECT '0'"}
    with limited(SEARCH) as limit:
        limit.parallel = False
        assert run(setting[connection.vendor]) == [("0",)]


@pytest.mark.django_db
def test_an_inner_limit_is_at_most_what_remains_of_the_outer_one(settings):
    settings.READ_TIMEOUT_SECONDS = 10
    with limited(time_limits.READ) as outer:
        outer.used = 9.5
        with limited(SEARCH) as inner:
            assert (inner.name, inner.seconds) == ("READ_TIMEOUT_SECONDS", 0.5)
            inner.used = 0.4
        assert outer.remaining == pytest.approx(0.1)
        with limited(JOB, per_statement=True) as job:
            assert job.seconds == settings.JOB_TIMEOUT_SECONDS
            job.used = job.seconds
            assert run() == [(1,)]


@pytest.mark.django_db
def test_requests_have_a_limit_and_leave_none_behind():
    seen = []

    def view(request):
        seen.append(time_limits.current().name)
        run()
        return HttpResponse()

    for method in ("get", "post"):
        TimeLimitMiddleware(view)(getattr(RequestFactory(), method)("/"))
    assert seen == ["READ_TIMEOUT_SECONDS", "WRITE_TIMEOUT_SECONDS"]
    assert time_limits.current() is None


def test_the_middleware_answers_for_views_outside_of_the_api():
    error = TimeLimitExceeded("Too slow.")
    response = TimeLimitMiddleware(HttpResponse).process_exception(RequestFactory().get("/"), error)
    assert (response.status_code, response["Retry-After"]) == (503, "30")
    assert b'"reason": "time_limit_exceeded"' in response.content
    assert TimeLimitMiddleware(HttpResponse).process_exception(RequestFactory().get("/"), ValueError()) is None


def test_a_page_of_the_admin_that_takes_too_long_is_a_page():
    error = TimeLimitExceeded("Too slow.")
    response = TimeLimitMiddleware(HttpResponse).process_exception(RequestFactory().get("/admin/"), error)
    assert (response.status_code, response["Retry-After"]) == (503, "30")
    assert response["Content-Type"].startswith("text/html")
    assert "<p>Too slow.</p>" in response.content.decode()
