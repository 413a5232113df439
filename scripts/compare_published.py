"""A run beside the published solve rates: python scripts/compare_published.py run=results/laptop"""

import _checkout

if __name__ == "__main__":
    _checkout.run("compare-published")
