"""The sentence that ends a plan."""

from dataclasses import replace

from app.commands.plan.estimate import estimate
from app.commands.plan.verdict import describe_verdict
from tests.support.plan import HOST, MEASURED, case_of, request_of

# A photo takes so long to read that every device waits for it.
SLOW = replace(MEASURED, loading=replace(MEASURED.loading, sample_s={"rid": 10.0}))


def verdict_of(request, **changes):
    case = case_of(request, **changes)
    if request.on_gpu:
        case = replace(case, precision="bf16")
    return describe_verdict(case, estimate(case))


def test_what_fits_is_told_with_its_time_cost_and_memory():
    request = request_of()
    hours = estimate(case_of(request)).hours
    minutes = round(60 * hours)
    assert verdict_of(request).startswith(
        f"It fits: ml.m5.xlarge would take {minutes // 60} h {minutes % 60} min and "
        f"{0.23 * hours:.2f} USD for all epochs, and use "
    )
    assert verdict_of(request).endswith(" of 16 GiB of memory.")
    own = replace(request, price_per_hour=10.0, num_instances=2)
    hours = estimate(case_of(own)).hours
    assert verdict_of(own).startswith("It fits: 2 x ml.m5.xlarge would take ")
    assert f" and {20 * hours:.2f} USD for" in verdict_of(own)


def test_a_gpu_that_waits_names_an_instance_that_costs_less():
    request = request_of("ml.g5.xlarge", num_workers=16)
    text = verdict_of(request, measured=SLOW)
    assert "of each GPU. The GPU would wait for data 100 % of the time; " in text
    name, _, rest = text.rpartition("; ")[2].partition(" would take ")
    better = estimate(case_of(request_of(name, num_workers=16), SLOW)).hours
    before = estimate(case_of(request, SLOW)).hours
    assert better < before
    cost = float(rest.partition(" and ")[2].removesuffix(" USD."))
    assert cost < 0.9 * 1.408 * before


def test_idle_cores_come_before_another_instance():
    text = verdict_of(request_of("ml.g5.48xlarge", num_workers=1), measured=SLOW)
    assert text.endswith("; try --set num_workers=24, of which there are 1.")


def test_a_busy_machine_is_the_last_word():
    busy = replace(HOST, taken_cores=1.3)
    assert verdict_of(request_of(), host=busy).endswith(
        "Times are too long: other work took 1.3 of the 2 cores here while it was measured; "
        "measure again on a quiet machine."
    )
