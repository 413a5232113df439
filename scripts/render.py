"""A picture of one episode: python scripts/render.py task=car_launch"""

import _entry

if __name__ == "__main__":
    _entry.main("render", "rtc_bench.reporting.settings:RenderConfig", "rtc_bench.reporting.film:render")
