"""The commands of `rtc-bench` and scripts/, by name: their settings and their function, loaded when one is started.

A command's config file, ``configs/<name>.yaml`` with underscores, holds its defaults; the comment that heads it is its help.
"""

from typing import NamedTuple


class Command(NamedTuple):
    """Targets are "package.module:name"."""

    settings: str  # a schema.Settings dataclass
    function: str  # takes these settings


COMMANDS = {
    "sweep": Command("rtc_bench.evaluation.settings:SweepConfig", "rtc_bench.commands.sweep:sweep"),
    "compare": Command("rtc_bench.evaluation.settings:CompareConfig", "rtc_bench.commands.compare:compare"),
    "report": Command("rtc_bench.reporting.settings:ReportConfig", "rtc_bench.reporting.report:report"),
    "render": Command("rtc_bench.reporting.settings:RenderConfig", "rtc_bench.reporting.film:render"),
    "realtime": Command("rtc_bench.reporting.settings:RealtimeConfig", "rtc_bench.reporting.realtime:run"),
    "serve": Command("rtc_bench.realtime.serving.settings:ServeConfig", "rtc_bench.commands.serve:serve"),
    "train-expert": Command(
        "rtc_bench.training.settings:TrainExpertConfig", "rtc_bench.training.pipeline:train_experts"
    ),
    "generate-data": Command(
        "rtc_bench.training.settings:GenerateDataConfig", "rtc_bench.training.pipeline:generate_data"
    ),
    "train-flow": Command("rtc_bench.training.settings:TrainFlowConfig", "rtc_bench.training.pipeline:train_flows"),
    "train-method": Command(
        "rtc_bench.method_training.settings:TrainMethodConfig", "rtc_bench.method_training.pipeline:train_methods"
    ),
    "rank-methods": Command("rtc_bench.reporting.settings:RankMethodsConfig", "rtc_bench.reporting.methods:rank"),
    "compare-published": Command(
        "rtc_bench.reporting.settings:ComparePublishedConfig", "rtc_bench.reporting.published:compare"
    ),
    "fetch-published": Command(
        "rtc_bench.policies.published.settings:FetchPublishedConfig", "rtc_bench.policies.published.fetching:fetch"
    ),
    "publish-zoo": Command("rtc_bench.training.settings:PublishZooConfig", "rtc_bench.training.publishing:publish"),
}
