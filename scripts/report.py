"""A page, figures and tables of run folders: python scripts/report.py results/benchmark"""

import _checkout

if __name__ == "__main__":
    _checkout.run("report")
