"""What stands in the cells of the tables, in the terminal and on the page."""

from __future__ import annotations

from procray.report.numbers.headline import left_text
from procray.report.numbers.results import Fraction, Match, Target, Variant
from procray.report.numbers.statistics import Difference, Spread
from procray.report.numbers.wording import count, percent, signed


def level_text(target: Target, variant: Variant) -> str:
    """Tokens until the target's level, as a share of what the baseline needs: `53 %`, `not reached`."""
    if variant.n == 0 or target.level is None:
        return variant.state
    share = target.level_fraction(variant)
    return "not reached" if share is None else percent(share)


def final_text(variant: Variant, seeds: bool = True) -> str:
    """`4.455 ± 0.009`, or the state of a cell without a finished seed; with `seeds`, how many where some lack."""
    final = variant.final
    if final is None:
        return variant.state
    if variant.metric == "accuracy":
        text = f"{100 * final.mean:.2f}" + (f" ± {100 * final.sd:.2f}" if final.sd is not None else "") + " %"
    else:
        text = f"{final.mean:.3f}" + (f" ± {final.sd:.3f}" if final.sd is not None else "")
    return text + (f" ({final.n} of {len(variant.runs)})" if seeds and final.n < len(variant.runs) else "")


def interval_text(variant: Variant) -> str:
    """`−0.056 [−0.101, −0.012]`; `-` for a baseline; where runs leave a plateau or do not, how many left it."""
    if variant.evidence.left is not None:
        return f"{left_text(variant.evidence.left)} left"
    if variant.is_baseline or variant.difference is None:
        return "-"
    return difference_interval(variant.metric, variant.difference)


def difference_interval(metric: str, difference: Difference) -> str:
    """`−0.056 [−0.101, −0.012]`, in points of accuracy or in nats; without brackets where there is no interval."""
    scale, decimals = (100, 2) if metric == "accuracy" else (1, 3)
    text = signed(scale * difference.mean, decimals)
    if difference.low is None or difference.high is None:
        return text
    return f"{text} [{signed(scale * difference.low, decimals)}, {signed(scale * difference.high, decimals)}]"


def mean_text(metric: str, final: Spread) -> str:
    """`99.8 ± 0.2`, in percent or nats."""
    scale, decimals = (100, 1) if metric == "accuracy" else (1, 3)
    spread = "" if final.sd is None else f" ± {scale * final.sd:.{decimals}f}"
    return f"{scale * final.mean:.{decimals}f}{spread}"


def solved_text(variant: Variant) -> str:
    """`120k (2/3)`: after how many tokens training stopped because the task was solved, and for how many seeds."""
    if not variant.solved:
        return variant.state if variant.n == 0 else f"- (0/{variant.n})"
    mean = sum(variant.solved.values()) / len(variant.solved)
    return f"{count(mean)} ({len(variant.solved)}/{variant.n})"


def ends_text(variant: Variant) -> str:
    """The end of every finished run, in the order of the seeds: `84.6, 11.2, 91.5`; with `-` for a lost one."""
    scale, decimals = (100, 1) if variant.metric == "accuracy" else (1, 3)
    return ", ".join(f"{scale * run.final(variant.metric):.{decimals}f}" if run.done else "-" for run in variant.runs)


def fraction_interval(variant: Variant) -> str:
    """`[73, 78]`, `[60, none]`: places in % of the baseline's tokens that the corrected test leaves open."""
    fraction: Fraction | None = variant.evidence.fraction
    if fraction is None or fraction.low is None:
        return ""
    return f"[{100 * fraction.low:.0f}, {'none' if fraction.high is None else f'{100 * fraction.high:.0f}'}]"


def readoff_text(variant: Variant) -> str:
    """`76 % [73, 78] (3/3)`: the read-off with the interval of its places."""
    text, interval = match_text(variant.readoff), fraction_interval(variant)
    if not interval or variant.readoff.state not in ("reached", "not reached"):
        return text
    head, bracket, seeds = text.partition(" (")
    return f"{head} {interval}{bracket}{seeds}"


def match_text(match: Match) -> str:
    """`59 % (3/3)`, `not reached (1/3)`, `pending`, `-`; k of n planned runs."""
    if match.state == "baseline":
        return "100 %"
    if match.state == "not planned":
        return "-"
    if match.state in ("pending", "no result"):
        return match.state
    seeds = f" ({match.seeds_reached}/{len(match.per_seed)})" if match.per_seed else ""
    if match.fraction is None:
        return "not reached" + seeds
    return ("≤ " if match.at_most else "") + percent(match.fraction) + seeds
